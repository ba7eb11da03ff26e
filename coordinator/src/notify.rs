//! What goes out when an incident changes: from a public fact to bytes at a receiver.
//!
//! ```text
//! outbox ▸ event::Event ▸ text::Message ▸ channel::Channel::body ▸ (stored) ▸ send::Sender ▸ receiver
//! ```
//!
//! Everything up to the body is pure, so that a body can be rendered once, stored, and sent again unchanged. When
//! to send and when to try again is decided elsewhere; here is how.

pub mod channel;
pub mod event;
pub mod sample;
pub mod send;
pub mod template;
pub mod text;

mod json_time;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod samples;

pub use channel::Channel;
pub use event::Event;
pub use send::Sender;
pub use text::Message;
