//! Where jobs are kept. There is one engine: directories, in [`fs`].

pub mod fs;
