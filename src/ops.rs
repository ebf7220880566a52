//! What operators do and see: [`admin`] carries out their acts in a spool, [`control`] brings these to a
//! running service, [`health`] says what keeps partners from being served.

pub mod admin;
pub mod control;
pub mod health;
