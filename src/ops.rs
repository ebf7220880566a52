//! What operators do and see: [`admin`] carries out their acts in a spool, [`control`] brings these to a
//! running service, [`selection`] says which jobs they mean, [`health`] what keeps partners from being served,
//! [`shape`] how old jobs are, [`arrivals`] what has come of what is expected, [`moment`] what moment operators mean.

pub mod admin;
pub mod arrivals;
pub mod control;
pub mod health;
pub mod moment;
pub mod selection;
pub mod shape;
