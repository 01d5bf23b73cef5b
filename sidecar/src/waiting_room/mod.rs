//! What a visitor of a waiting room gets: a page, figures in JSON, or a status that programs understand.

mod languages;
mod page;

pub(crate) use page::make_wait;
