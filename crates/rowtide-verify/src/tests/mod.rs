//! Whole verifications between two model ends on a paused clock: both change while they are looked
//! at, the destination lags behind, and damage is planted in it.

mod budget;
mod columns;
mod drift;
mod histories;
mod repairs;
mod world;
