//! Controls a Chromium browser.

use std::{
    env, fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::{self, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use thirtyfour::{
    By, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver, WebElement,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::support::{App, PATIENCE, unique};

/// The version of axe-core used to check the page.
const AXE: &str = "axe-core@4.14.1";

/// Runs a test in a new browser, which is closed even if the test fails.
///
/// If Chromium is not installed, the test is skipped, or fails on CI.
pub(crate) async fn in_browser<F>(test: impl FnOnce(Browser) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some((driver, browser)) = Driver::start().await else {
        assert!(
            env::var_os("CI").is_none(),
            "Chromium is missing: apt-get install chromium chromium-driver"
        );
        eprintln!("skipped: Chromium is missing (apt-get install chromium chromium-driver)");
        return;
    };
    // The test runs in a separate task, so that the browser is closed even if the test fails.
    let result = tokio::spawn(test(browser.clone())).await;
    let _ = browser.0.quit().await;
    drop(driver);
    if let Err(error) = result {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Runs a test on the page of a new application, and checks that the page logs no errors.
pub(crate) async fn on_page<F>(test: impl FnOnce(Browser, App) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.open(&app).await;
        test(browser.clone(), app).await;
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}

/// The process that starts the browser, and the path of the browser's profile.
struct Driver {
    _process: Child,
    profile: PathBuf,
}

impl Driver {
    async fn start() -> Option<(Self, Browser)> {
        // chromedriver exits if another program has taken its free port in the meantime.
        for _ in 0..3 {
            let started = Self::try_start().await;
            if started.is_some() {
                return started;
            }
        }
        None
    }

    async fn try_start() -> Option<(Self, Browser)> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(process.stdout.take()?).lines();
        let port = loop {
            let line = lines.next_line().await.ok()??;
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // The rest of the output is read and discarded, because the process would block once the
        // pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        // Each test has its own profile, because browsers cannot share one.
        let profile = format!("chromium-{}-{}", process::id(), unique());
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(profile);
        let mut capabilities = DesiredCapabilities::chrome();
        let profile_flag = format!("--user-data-dir={}", profile.display());
        let flags = "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage \
                     --no-first-run --disable-background-networking --disable-component-update \
                     --disable-sync --hide-scrollbars --lang=en-GB --window-size=1280,900";
        for flag in flags.split(' ').chain([&*profile_flag]) {
            capabilities.add_arg(flag).unwrap();
        }
        capabilities
            .set_browser_log_level(LoggingPrefsLogLevel::All)
            .unwrap();
        let driver = WebDriver::new(&format!("http://127.0.0.1:{port}"), capabilities).await;
        let browser = Browser(driver.expect("Chromium starts"));
        Some((
            Self {
                _process: process,
                profile,
            },
            browser,
        ))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.profile);
    }
}

#[derive(Clone)]
pub(crate) struct Browser(WebDriver);

impl Deref for Browser {
    type Target = WebDriver;

    fn deref(&self) -> &WebDriver {
        &self.0
    }
}

pub(crate) fn test_id(id: &str) -> By {
    By::Css(format!("[data-testid='{id}']"))
}

impl Browser {
    /// Opens the page with its token and waits until it is connected to the live updates.
    pub(crate) async fn open(&self, app: &App) {
        self.goto(&app.page).await.unwrap();
        self.element(By::Css("[data-state='live']")).await;
    }

    /// Waits until the element is displayed, and returns it.
    pub(crate) async fn element(&self, by: By) -> WebElement {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(element) = self.find(by.clone()).await
                && element.is_displayed().await.unwrap_or(false)
            {
                return element;
            }
            if Instant::now() > deadline {
                let source = self.script("return document.body.innerText").await;
                panic!("no {by:?} in:\n{source}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn row(&self, id: &str, verdict: &str) -> WebElement {
        self.element(By::Css(format!(
            "[data-testid='delivery'][data-id='{id}'][data-verdict='{verdict}']"
        )))
        .await
    }

    /// Opens a row of the list and waits until its details are shown.
    pub(crate) async fn open_row(&self, id: &str, verdict: &str) {
        let row = self.row(id, verdict).await;
        let link = row.find(By::Css("a")).await.unwrap();
        link.click().await.unwrap();
        self.wait_for(&format!(
            "document.querySelector('.subtitle')?.textContent === {} && document.querySelector('.heading .badge').dataset.verdict === '{verdict}'",
            json!(id)
        ))
        .await;
    }

    pub(crate) async fn click(&self, id: &str) {
        self.element(test_id(id)).await.click().await.unwrap();
    }

    pub(crate) async fn click_on(&self, by: By) {
        self.element(by).await.click().await.unwrap();
    }

    pub(crate) async fn wait_for_text(&self, selector: &str, text: &str) {
        let text = json!(text);
        self.wait_for(&format!(
            "document.querySelector('{selector}')?.textContent === {text}"
        ))
        .await;
    }

    pub(crate) async fn text(&self, id: &str) -> String {
        self.element(test_id(id)).await.text().await.unwrap()
    }

    pub(crate) async fn script(&self, script: &str) -> Value {
        let result = self.execute(script, Vec::new()).await;
        result.unwrap().json().clone()
    }

    pub(crate) async fn wait_for(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.script(&format!("return Boolean({expression})")).await != json!(true) {
            if Instant::now() > deadline {
                let source = self.script("return document.body.innerText").await;
                panic!("not true: {expression}, in:\n{source}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn press(&self, keys: impl ToString) {
        self.action_chain()
            .send_keys(keys.to_string())
            .perform()
            .await
            .unwrap();
    }

    /// Returns the page's console output, including errors.
    pub(crate) async fn console(&self) -> Vec<String> {
        let log = self.browser_log().await.unwrap();
        log.into_iter().map(|entry| entry.message).collect()
    }

    pub(crate) async fn set_scheme(&self, scheme: &str) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        let set = "Emulation.setEmulatedMedia";
        self.cdp().send_raw(set, media).await.unwrap();
    }

    pub(crate) async fn set_size(&self, width: u32, height: u32) {
        // The size is emulated, because a real window cannot be made as narrow as a phone.
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let set = "Emulation.setDeviceMetricsOverride";
        self.cdp().send_raw(set, metrics).await.unwrap();
    }

    /// Returns the serious violations found by axe-core.
    pub(crate) async fn violations(&self) -> Vec<String> {
        let Some(axe) = axe().await else {
            return Vec::new();
        };
        // WebDriver runs the script, because the page's security policy blocks other scripts.
        self.script(&axe).await;
        let run = "const done = arguments[arguments.length - 1]; axe.run().then(done, error => done(String(error)))";
        let result = self.execute_async(run, Vec::new()).await;
        let result = result.unwrap().json().clone();
        let violations = result["violations"]
            .as_array()
            .unwrap_or_else(|| panic!("axe: {result}"));
        assert!(!result["passes"].as_array().unwrap().is_empty());
        let serious = violations
            .iter()
            .filter(|it| matches!(it["impact"].as_str(), Some("serious" | "critical")));
        serious
            .map(|it| format!("{}: {}", it["help"], it["nodes"][0]["html"]))
            .collect()
    }
}

/// Returns the source of axe-core, which is installed once for all tests.
async fn axe() -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AXE);
    let script = folder.join("node_modules/axe-core/axe.min.js");
    if !script.exists() {
        fs::create_dir_all(&folder).unwrap();
        let npm = Command::new("npm")
            .args("install --prefix . --no-save --no-audit --no-fund --ignore-scripts".split(' '))
            .arg(AXE)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let installed = npm.await.is_ok_and(|status| status.success());
        assert!(
            installed || env::var_os("CI").is_none(),
            "npm cannot install {AXE}"
        );
        if !installed {
            eprintln!("skipped: npm cannot install {AXE}");
            return None;
        }
    }
    Some(fs::read_to_string(script).unwrap())
}
