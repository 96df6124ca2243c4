//! The files of the page, as they are in the crate.

/// A file.
pub(super) struct Kept {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

/// The page itself. `{{base}}` stands for the place where it is mounted.
pub(super) const INDEX: &str = include_str!("assets/index.html");

macro_rules! files {
    ($($kind:literal: $($name:literal)+;)+) => {
        /// All that the page loads, by name.
        pub(super) const FILES: &[Kept] = &[
            $($(Kept { name: $name, kind: $kind, text: include_str!(concat!("assets/", $name)) },)+)+
        ];
    };
}

files! {
    "text/javascript; charset=utf-8":
        "api.js"
        "app.js"
        "catalogue.js"
        "chart.js"
        "deliveries.js"
        "delivery.js"
        "dialog.js"
        "dom.js"
        "event.js"
        "events.js"
        "form.js"
        "format.js"
        "health.js"
        "icon.js"
        "json.js"
        "names.js"
        "overview.js"
        "page.js"
        "parts.js"
        "replay_item.js"
        "replay_panel.js"
        "replays.js"
        "secrets.js"
        "session.js"
        "test_panel.js"
        "type_picker.js"
        "webhook.js"
        "webhook_actions.js"
        "webhook_advanced.js"
        "webhook_form.js"
        "webhooks.js"
    ;
    "text/css; charset=utf-8":
        "parts.css"
        "style.css"
        "theme.css"
    ;
    "image/svg+xml": "icon.svg";
}
