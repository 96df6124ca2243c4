//! A page of the console in a browser: opened by a user, looked at and worked with as a person would.
//!
//! Nothing sleeps in place of what it waits for: every step is tried until it succeeds, up to a deadline.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::driver::{Driver, ELEMENT};
use super::stage::Stage;
use super::watchers::wrong;

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(40);

pub(crate) const ENTER: char = '\u{e007}';
pub(crate) const ESCAPE: char = '\u{e00c}';
pub(crate) const TAB: char = '\u{e004}';
pub(crate) const SPACE: char = ' ';
pub(crate) const DOWN: char = '\u{e015}';

pub(crate) struct Page {
    driver: Driver,
    origin: String,
    place: String,
    /// Parts of messages in the log that the test expects.
    planned: Mutex<Vec<String>>,
    ended: bool,
}

impl Page {
    /// The page at this route (what follows `#/`), in a browser of its own.
    pub(crate) async fn open(stage: &Stage, user: &str, route: &str) -> Self {
        let driver = Driver::start().await;
        let source = json!({ "source": include_str!("javascript/look.js") });
        driver.devtools("Page.addScriptToEvaluateOnNewDocument", source).await;
        let (origin, place) = (stage.origin.clone(), stage.place.clone());
        let page = Self { driver, origin, place, planned: Mutex::default(), ended: false };
        page.view(1440, false).await;
        page.sign_in(user).await;
        page.go_to(&format!("{}#/{route}", stage.place)).await;
        page
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Looks at what went wrong, and ends the browser. Every test ends its pages.
    pub(crate) async fn end(mut self) {
        self.is_well().await;
        self.ended = true;
    }

    /// Ends the browser where the test has looked at what went wrong itself.
    pub(crate) fn end_unseen(mut self) {
        self.ended = true;
    }

    /// Fails where something went wrong since the last look.
    pub(crate) async fn is_well(&self) {
        let planned = self.planned.lock().expect("a list").clone();
        let found = wrong(&self.driver, &self.origin, &planned).await;
        assert!(found.is_empty(), "the browser did what it must not:\n{}", found.join("\n"));
    }

    /// Expects a message in the log, such as that of an answer that is no success.
    pub(crate) fn plan(&self, part: &str) {
        self.planned.lock().expect("a list").push(part.to_owned());
    }

    // --- where it is --------------------------------------------------------------------------

    pub(crate) async fn sign_in(&self, user: &str) {
        let value: String = form_urlencoded::byte_serialize(user.as_bytes()).collect();
        let cookie =
            json!({ "name": "user", "value": value, "url": self.origin, "httpOnly": true });
        self.driver.devtools("Network.setCookie", cookie).await;
    }

    pub(crate) async fn sign_out(&self) {
        self.driver.devtools("Network.clearBrowserCookies", json!({})).await;
    }

    pub(crate) async fn go_to(&self, url: &str) {
        self.driver.post("url", json!({ "url": url })).await.expect("it is loaded");
    }

    pub(crate) async fn reload(&self) {
        self.driver.post("refresh", json!({})).await.expect("it is loaded");
    }

    /// Opens another route of the page, as a link of it would.
    pub(crate) async fn route(&self, route: &str) {
        self.run("location.hash = arguments[0]", json!([format!("#/{route}")])).await;
    }

    /// The console with this path after it.
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}{rest}", self.place)
    }

    /// Shows it as wide as this, light or dark, and without movement.
    pub(crate) async fn view(&self, width: u32, dark: bool) {
        self.sized(width, 900, dark).await;
    }

    pub(crate) async fn sized(&self, width: u32, height: u32, dark: bool) {
        self.of_size(width, height).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        let media = json!({ "features": features });
        self.driver.devtools("Emulation.setEmulatedMedia", media).await;
    }

    async fn of_size(&self, width: u32, height: u32) {
        let phone = width < 600;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.driver.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    // --- waiting ------------------------------------------------------------------------------

    /// Tries until there is something.
    pub(crate) async fn wait<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        match Self::tried(look).await {
            Some(found) => found,
            None => self.give_up(what).await,
        }
    }

    /// Tries until there is something, or for so long that there will be nothing.
    pub(crate) async fn tried<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = look().await;
            if found.is_some() || Instant::now() > deadline {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Fails with what the page looks like.
    pub(crate) async fn give_up(&self, what: &str) -> ! {
        let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
        self.shot(&format!("failed-{name}")).await;
        let text = self.run("return document.body.innerText", json!([])).await;
        let planned = self.planned.lock().expect("a list").clone();
        let logged = wrong(&self.driver, &self.origin, &planned).await.join("\n");
        panic!("waited in vain for {what}\n\n{}\n\n{logged}", text.as_str().unwrap_or_default());
    }

    /// Tries until the script returns what counts as true, and answers with it.
    pub(crate) async fn until(&self, what: &str, script: &str) -> Value {
        self.until_with(what, script, json!([])).await
    }

    pub(crate) async fn until_with(&self, what: &str, script: &str, arguments: Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.wait(what, async || {
            // A document that is being left cannot be asked.
            let found = self.driver.post("execute/sync", body.clone()).await.unwrap_or(Value::Null);
            let counts = !matches!(&found, Value::Null | Value::Bool(false)) && found != "";
            counts.then_some(found)
        })
        .await
    }

    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        let answer = self.driver.post("execute/sync", body).await;
        answer.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until this stands in what is seen of the page.
    pub(crate) async fn see(&self, text: &str) {
        self.until_with(text, SEES, json!([text])).await;
    }

    pub(crate) async fn sees(&self, text: &str) -> bool {
        self.run(SEES, json!([text])).await == true
    }

    /// Waits until this no longer stands there.
    pub(crate) async fn see_no_more(&self, text: &str) {
        let script = SEES.replace("return ", "return !");
        self.until_with(&format!("no {text}"), &script, json!([text])).await;
    }

    /// Waits until the page has this name.
    pub(crate) async fn titled(&self, text: &str) {
        let script = "return document.querySelector('h1')?.textContent === arguments[0]";
        self.until_with(&format!("the page {text}"), script, json!([text])).await;
    }

    // --- doing --------------------------------------------------------------------------------

    /// The id of the element that is seen and called so.
    async fn find(&self, css: &str, name: &str) -> Option<String> {
        let body = json!({ "script": "return tidingsLook(...arguments)", "args": [css, name] });
        let found = self.driver.post("execute/sync", body).await.ok()?;
        Some(found[ELEMENT].as_str()?.to_owned())
    }

    /// Whether there is such an element to be seen.
    pub(crate) async fn has(&self, css: &str, name: &str) -> bool {
        self.find(css, name).await.is_some()
    }

    async fn press_on(&self, css: &str, name: &str) -> String {
        self.wait(&format!("{css} {name:?}"), async || {
            let found = self.find(css, name).await?;
            let path = format!("element/{found}/click");
            self.driver.post(&path, json!({})).await.ok().map(|_| found)
        })
        .await
    }

    /// Clicks a button or a link.
    pub(crate) async fn click(&self, name: &str) {
        self.press_on("button, a, summary", name).await;
    }

    /// Ticks a box or a choice.
    pub(crate) async fn tick(&self, name: &str) {
        self.press_on("input[type=checkbox], input[type=radio]", name).await;
    }

    /// Types into a field, in place of what is there.
    pub(crate) async fn fill(&self, name: &str, text: &str) {
        const FIELDS: &str = "input:not([type=checkbox], [type=radio]), textarea";
        let field = self.press_on(FIELDS, name).await;
        // All that is there is selected, and replaced or taken away.
        let keys = match text {
            "" => "\u{e009}a\u{e000}\u{e003}".to_owned(),
            text => format!("\u{e009}a\u{e000}{text}"),
        };
        let typed =
            self.driver.post(&format!("element/{field}/value"), json!({ "text": keys })).await;
        typed.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Enters a time, for which each browser has keys of its own.
    pub(crate) async fn fill_time(&self, name: &str, time: &str) {
        const ENTER: &str = "const field = tidingsLook('input', arguments[0]);
            if (!field) return false;
            field.value = arguments[1];
            field.dispatchEvent(new Event('input', { bubbles: true }));
            return field.value === arguments[1];";
        self.until_with(name, ENTER, json!([name, time])).await;
    }

    /// Chooses from a list.
    pub(crate) async fn choose(&self, name: &str, option: &str) {
        const OPTION: &str = "const list = tidingsLook('select', arguments[0]);
            return [...list?.options ?? []].find((one) => one.text.startsWith(arguments[1])) ?? null";
        let found = self.until_with(option, OPTION, json!([name, option])).await;
        let id = found[ELEMENT].as_str().expect("an option");
        let clicked = self.driver.post(&format!("element/{id}/click"), json!({})).await;
        clicked.unwrap_or_else(|error| panic!("{option}: {error}"));
    }

    /// Presses a key wherever the focus is.
    pub(crate) async fn press(&self, key: char) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let keyboard = json!([{ "type": "key", "id": "keyboard", "actions": keys }]);
        let pressed = self.driver.post("actions", json!({ "actions": keyboard })).await;
        pressed.expect("a key");
    }

    /// Types wherever the focus is.
    pub(crate) async fn type_in(&self, text: &str) {
        for key in text.chars() {
            self.press(key).await;
        }
    }

    /// What has the focus, as a screen reader says it: its role and its name.
    pub(crate) async fn focused(&self) -> (String, String) {
        let element = self.driver.get("element/active").await.expect("an element");
        let id = element[ELEMENT].as_str().expect("an element");
        let text = async |what: &str| {
            let said = self.driver.get(&format!("element/{id}/{what}")).await.expect("a word");
            said.as_str().unwrap_or_default().to_owned()
        };
        (text("computedrole").await, text("computedlabel").await)
    }

    // --- looking ------------------------------------------------------------------------------

    /// Keeps a picture of the whole page: on a screen that is as high.
    pub(crate) async fn shot(&self, name: &str) -> PathBuf {
        let sizes = "return [innerWidth, innerHeight, document.documentElement.scrollHeight]";
        let sizes = self.run(sizes, json!([])).await;
        let [width, height, whole] = [0, 1, 2].map(|at| sizes[at].as_u64().unwrap_or(900) as u32);
        self.of_size(width, whole.clamp(height, 6_000)).await;
        let path = self.screen(name).await;
        self.of_size(width, height).await;
        path
    }

    /// Keeps a picture of what is on the screen.
    pub(crate) async fn screen(&self, name: &str) -> PathBuf {
        let options = json!({ "format": "png" });
        let picture = self.driver.devtools("Page.captureScreenshot", options).await;
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
        fs::create_dir_all(folder.join("console")).expect("a folder");
        let path = folder.join("console").join(format!("{name}.png"));
        fs::write(&path, picture.expect("base64")).expect("a file");
        path
    }

    /// Lets axe look at the page as it stands: what it finds fails the test.
    pub(crate) async fn is_accessible(&self, name: &str) {
        let found = self.axe().await;
        assert_eq!(found, json!([]), "{name}: axe finds {found:#}");
    }

    /// What axe finds.
    pub(crate) async fn axe(&self) -> Value {
        if self.run("return typeof axe", json!([])).await == "undefined" {
            let path = env::var("TIDINGS_AXE")
                .expect("TIDINGS_AXE names axe.min.js, which tests/run installs");
            let source =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            self.driver.devtools("Runtime.evaluate", json!({ "expression": source })).await;
        }
        let body = json!({ "script": AXE, "args": [] });
        self.driver.post("execute/async", body).await.expect("axe")
    }
}

const SEES: &str = "return document.body.innerText.replace(/\\s+/g, ' ').includes(arguments[0])";

/// Each violation with the first of its places. Something must have been looked at.
const AXE: &str = "const done = arguments[0];
    axe.run(document).then(({ violations, passes }) => done(passes.length < 10 ? [`looked at ${passes.length} things`]
      : violations.map(({ id, help, nodes }) => ({ id, help,
        at: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`) }))),
      (error) => done([String(error)]));";

impl Drop for Page {
    fn drop(&mut self) {
        let fine = self.ended || std::thread::panicking();
        assert!(fine, "a page was not ended, so that nobody looked at what went wrong in it");
    }
}
