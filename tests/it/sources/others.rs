//! Other programs that get credentials from us: `rolefs credentials serve` and `exec`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{bare, injected, show, step, text, world};
use crate::harness::{SOON, wait_for};
use crate::launch::{ended, output, signal};

/// A service by `rolefs credentials serve`.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .args(["credentials", "serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let url = line
            .trim_end()
            .strip_prefix("export ALIBABA_CLOUD_CREDENTIALS_URI=");
        let url = url.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, url }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn curl(url: &str) -> (String, String) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code}",
    ]);
    let said = text(
        &output({
            command.arg(url);
            command
        })
        .stdout,
    );
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[test]
fn a_service_of_ours_asks_the_platforms_once_for_all() {
    let world = world();
    let mut served = Served::start(injected(&world));
    let before = world.job().fetches();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let url = served.url.clone();
            std::thread::spawn(move || curl(&url))
        })
        .collect();
    for asked in asking {
        let (status, body) = asked.join().unwrap();
        let set: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_str(), &set["Code"]), ("200", &"Success".into()));
        let current = world.job().current();
        assert_eq!(set["AccessKeyId"], current.access_key_id);
        assert_eq!(set["SecurityToken"], current.security_token);
        assert_eq!(set["Expiration"], current.expiration.to_string());
    }
    assert_eq!(
        world.job().fetches(),
        before,
        "nobody else asks the platform"
    );
    let (root, _) = served.url.rsplit_once('/').unwrap();
    assert_eq!(curl(&format!("{root}/")).0, "404");
    let mut rebound = Command::new("curl");
    rebound.args([
        "--silent",
        "--noproxy",
        "*",
        "--header",
        "Host: evil.example",
        "--write-out",
        "%{http_code}",
    ]);
    rebound.arg(&served.url);
    let said = text(&output(rebound).stdout);
    assert!(
        said.ends_with("421") && !said.contains("AccessKeyId"),
        "{said}"
    );

    // And rolefs itself takes it for the platform's.
    let mut ours = bare(&world);
    ours.env("ALIBABA_CLOUD_CREDENTIALS_URI", &served.url);
    let (shown, _) = show(ours, &[]);
    assert_eq!(step(&shown, "uri:").0, "used", "{shown:#}");
    signal(served.child.id(), Signal::SIGTERM);
    assert!(ended(&mut served.child, SOON).success());
}

#[test]
fn a_service_is_for_this_machine_and_gives_out_no_permanent_key() {
    let world = world();
    let refused = |mut command: Command, arguments: &[&str]| {
        command.args(["credentials", "serve"]).args(arguments);
        let output = output(command);
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let error = refused(injected(&world), &["--listen=0.0.0.0:0"]);
    assert!(error.contains("--allow-remote"), "{error}");
    let mut permanent = bare(&world);
    permanent
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAIuser")
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret-of-the-user");
    let error = refused(permanent, &[]);
    assert!(
        error.contains("permanent") && error.contains("--role-arn"),
        "{error}"
    );
    assert!(!error.contains("secret-of"), "{error}");
}

#[test]
fn exec_becomes_the_command_with_a_service_beside_it() {
    let world = world();
    let script = r#"
        test -z "${ALIBABA_CLOUD_ACCESS_KEY_ID+set}" && test "$ALIBABA_CLOUD_ECS_METADATA_DISABLED" = true
        test "$OSS_SESSION_TOKEN" = "$EXPECTED"
        curl --silent --noproxy '*' "$ALIBABA_CLOUD_CREDENTIALS_URI" >"$OUT"
        printf '%s' "$ALIBABA_CLOUD_CREDENTIALS_URI" >"$OUT.url"
        exit 7"#;
    let out = world.path("out");
    let mut command = injected(&world);
    command
        .env("OUT", &out)
        .env("EXPECTED", world.job().current().security_token)
        .env("ROLEFS_LISTEN_PATH", "/of-another")
        .args(["credentials", "exec", "--", "bash", "-euc", script]);
    let done = output(command);
    assert_eq!(done.status.code(), Some(7), "{}", text(&done.stderr));
    let set: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(set["AccessKeyId"], world.job().current().access_key_id);
    let url = fs::read_to_string(world.path("out.url")).unwrap();
    assert!(!url.contains("of-another"), "{url}");
    wait_for(SOON, "the service ends with the command", || {
        curl(&url).0 == "000"
    });
}

#[test]
fn exec_passes_signals_by_being_the_command() {
    let world = world();
    let ready = world.path("ready");
    let mut command = injected(&world);
    command.env("READY", &ready).args([
        "credentials",
        "exec",
        "--",
        "bash",
        "-c",
        "trap 'exit 5' TERM; printf '%s' \"$ALIBABA_CLOUD_CREDENTIALS_URI\" >\"$READY\"; while :; do read -rt 0.05 <> <(:); done",
    ]);
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    wait_for(SOON, "the command runs", || {
        fs::metadata(&ready).is_ok_and(|found| found.len() > 0)
    });
    signal(child.id(), Signal::SIGTERM);
    assert_eq!(ended(&mut child, Duration::from_secs(10)).code(), Some(5));
    let url = fs::read_to_string(&ready).unwrap();
    wait_for(SOON, "the service ends with the command", || {
        curl(&url).0 == "000"
    });
}

#[test]
fn exec_can_set_the_keys_themselves_and_tells_what_it_cannot_run() {
    let world = world();
    let mut command = injected(&world);
    command
        .env("EXPECTED", world.job().current().access_key_secret)
        .args(["credentials", "exec", "--static", "--", "bash", "-euc"])
        .arg(r#"test "$ALIBABA_CLOUD_ACCESS_KEY_SECRET" = "$EXPECTED"; test -z "${ALIBABA_CLOUD_CREDENTIALS_URI+set}""#);
    let done = output(command);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let mut command = injected(&world);
    command.args(["credentials", "exec", "--", "/nonexistent/program"]);
    let done = output(command);
    assert_eq!(done.status.code(), Some(127));
    assert!(text(&done.stderr).starts_with("rolefs: cannot run /nonexistent/program"));
    let mut command = bare(&world);
    command.args(["credentials", "exec", "--credentials=env", "--", "true"]);
    let done = output(command);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("ALIBABA_CLOUD_ACCESS_KEY_ID"));
}
