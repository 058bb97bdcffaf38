//! pasta for real, in the situation of a monitor: the test program runs itself again in a new user and PID namespace,
//! and from there once more in the network namespace that pasta connects.

use super::*;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const ROLE: &str = "LRUN_TEST_PASTA_ROLE";

fn role() -> String {
    std::env::var(ROLE).unwrap_or_default()
}

/// Runs the named test of this program again below `wrapper`; its output.
fn again(wrapper: &[&str], test: &str, role: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let name = format!("network::pasta::tests::{test}");
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(program)
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    text
}

/// Whether this machine can run the test; says why not.
fn possible() -> bool {
    let reason = match super::super::available() {
        Err(error) => error.to_string(),
        Ok(_) => match tun_obstacle() {
            Some(note) => note.why,
            None if !Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success()) => {
                "user namespaces cannot be made".to_owned()
            }
            None => return true,
        },
    };
    eprintln!("SKIPPED: {reason}");
    false
}

const MONITOR: [&str; 5] = ["unshare", "--user", "--map-root-user", "--pid", "--fork"];

/// A process in a network namespace of its own, and its id as the host's `/proc` has it.
struct Container(Child, u32);

impl Container {
    fn new() -> Self {
        let script = "read -r pid rest < /proc/self/stat; echo $pid; exec sleep 600";
        let mut child =
            Command::new("unshare").args(["--net", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().unwrap())
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.1)
    }

    fn pasta(&self) -> Result<(Pasta, Readiness)> {
        let netns = File::open(self.namespace()).unwrap();
        let mut pasta = Pasta::start(&super::super::available()?, netns.as_fd(), PastaOptions { dns_forward: true })?;
        let readiness = pasta.ready()?;
        Ok((pasta, readiness))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connects(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok()
}

/// In the container: what it has, and what it can reach of the listeners in the role's ports.
fn report_from_inside(ports: &str) {
    let devices = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let count = devices.lines().skip(2).filter(|line| !line.trim_start().starts_with("lo:")).count();
    println!("devices={count} address={:?}", uplink::address());
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap();
    let gateway = routes.lines().filter_map(|line| line.split('\t').nth(2)).find_map(|hex| {
        u32::from_str_radix(hex, 16).ok().filter(|bits| *bits != 0).map(|bits| IpAddr::from(bits.to_le_bytes()))
    });
    let addresses = ["127.0.0.1".parse().ok(), "::1".parse().ok(), gateway, uplink::address()];
    for port in ports.split(',').map(|port| port.parse::<u16>().unwrap()) {
        for address in addresses.into_iter().flatten() {
            println!("{address}:{port} reached={}", connects(SocketAddr::new(address, port)));
        }
    }
}

#[test]
fn a_namespace_gets_an_interface_and_cannot_reach_the_hosts_loopback() {
    const NAME: &str = "a_namespace_gets_an_interface_and_cannot_reach_the_hosts_loopback";
    match role().split_once(' ') {
        Some(("inside", ports)) => return report_from_inside(ports),
        Some(("monitor", _)) => {}
        _ if !possible() || uplink::address().is_none() => return,
        _ => {
            again(&MONITOR, NAME, "monitor -");
            return;
        }
    }
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap()];
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    assert!(ports.iter().all(|port| connects(SocketAddr::new("127.0.0.1".parse().unwrap(), *port))));

    let container = Container::new();
    let (mut pasta, readiness) = container.pasta().unwrap();
    assert_eq!(readiness, Readiness::Up);
    let net = format!("--net={}", container.namespace());
    let seen = again(&["nsenter", &net], NAME, &format!("inside {},{}", ports[0], ports[1]));
    assert!(seen.contains(&format!("devices=1 address={:?}", uplink::address())), "{seen}");
    assert!(seen.contains("reached=false") && !seen.contains("reached=true"), "{seen}");

    assert_eq!(pasta.child.try_wait().unwrap(), None);
    pasta.stop();
}

#[test]
fn a_host_without_a_route_is_no_failure() {
    const NAME: &str = "a_host_without_a_route_is_no_failure";
    match role().as_str() {
        "" if !possible() => {}
        "" => {
            let wrapper = [&MONITOR[..], &["--net"]].concat();
            again(&wrapper, NAME, "monitor");
        }
        _ => {
            // pasta of 2024-12 and later connects such a namespace with the host alone, an older one ends.
            Container::new().pasta().unwrap();
        }
    }
}

#[test]
fn a_file_that_is_no_namespace_is_a_failure_with_a_hint() {
    const NAME: &str = "a_file_that_is_no_namespace_is_a_failure_with_a_hint";
    match role().as_str() {
        "" if !possible() || uplink::address().is_none() => {}
        "" => {
            again(&MONITOR, NAME, "monitor");
        }
        _ => {
            let program = super::super::available().unwrap();
            let file = File::open("/dev/null").unwrap();
            let mut pasta = Pasta::start(&program, file.as_fd(), PastaOptions::default()).unwrap();
            let error = pasta.ready().unwrap_err();
            assert!(error.to_string().starts_with("connect the container's network: pasta failed: "), "{error}");
            assert!(error.hint_text().unwrap().contains("--network none"), "{error:?}");
        }
    }
}

#[test]
fn arguments_are_fixed_but_for_the_resolver() {
    insta::assert_snapshot!(
        arguments(PastaOptions { dns_forward: true }).join(" "),
        @"-f -q --config-net --no-map-gw -t none -u none -T none -U none --no-dhcp --no-dhcpv6 --no-ra --runas 0 --no-netns-quit --netns /proc/self/fd/0 -P /proc/self/fd/1 --dns-forward 169.254.1.1"
    );
    assert!(!arguments(PastaOptions::default()).contains(&"--dns-forward".to_owned()));
}

#[test]
fn failures_are_explained() {
    let denied = || Some(Note::new("n", "/dev/net/tun may not be opened by this user", "chmod it"));
    let cases = [
        (
            "Failed to send 45 bytes to syslog\nFailed to open tun socket in namespace\n",
            denied(),
            "pasta failed: /dev/net/tun may not be opened by this user (Failed to open tun socket in namespace)",
            "chmod it; ",
        ),
        (
            "Failed to open() /dev/net/tun: Permission denied\nFailed to set up tap device in namespace\n",
            None,
            "pasta failed: Failed to open() /dev/net/tun: Permission denied; Failed to set up tap device in namespace",
            "AppArmor",
        ),
        (
            "Couldn't open network namespace x\n",
            denied(),
            "pasta failed: Couldn't open network namespace x",
            "AppArmor",
        ),
        ("unknown option\n", None, "pasta failed: unknown option", "--network host"),
        ("", None, "pasta failed: it said nothing", "AppArmor"),
    ];
    for (messages, tun, message, hint) in cases {
        let error = explain(messages, tun).unwrap();
        assert_eq!(error.to_string(), message);
        assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
    }
}
