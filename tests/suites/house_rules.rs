//! What holds for the repository as a whole.

mod documents;
mod examples;
mod layers;
mod markdown;
mod modules;
mod reasons;
mod reference;
