//! The console in Chromium: what people do with it, against a real server and real receivers.
//!
//! Each test has a server, receivers, a driver and a browser of its own. A browser is watched while it works
//! ([`watchers`]): an error, a dialog, a breach of the page's policy or a request to elsewhere fails its test.

mod driver;
mod page;
mod past;
mod payloads;
mod pictures;
mod portal;
mod receivers;
mod records;
mod stage;
mod watchers;
mod webhooks;
