//! What must hold afterwards, decided from records alone: pure, one property per file.

pub mod blocks;
pub mod classes;
pub mod intruder;
pub mod linear;
