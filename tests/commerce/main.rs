//! Models and catalogues, by the example of a shop.

mod catalogue;
#[path = "../../examples/commerce/day.rs"]
mod day;
#[path = "../../examples/commerce/models.rs"]
mod models;
mod properties;
mod rules;
mod sequence;
