//! The networks of containers: pasta's, the host's, none; and the files that name hosts and servers.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use lrun_tests::{Lrun, Mode, mode, skip};

/// `run --rm FLAGS busybox sh -c SCRIPT`.
fn words<'a>(flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "--rm"][..], flags, &["busybox", "sh", "-c", script]].concat()
}

#[track_caller]
fn sh(lrun: &Lrun, flags: &[&str], script: &str) -> String {
    lrun.ok(&words(flags, script))
}

/// Whether pasta is there; the test is skipped where it is not.
fn pasta() -> bool {
    ["/usr/bin/pasta", "/usr/local/bin/pasta"].iter().any(|path| Path::new(path).exists())
}

const LINKS: &str = "ls /sys/class/net | tr '\\n' ' '";

#[test]
fn none_has_nothing_but_a_loopback_device() {
    let lrun = Lrun::with_busybox();
    let script =
        format!("{LINKS}; ip -o addr show lo | grep -c inet; ip route; echo hi | nc -w 1 192.0.2.1 80 2>&1 || true");
    let shown = sh(&lrun, &["--network", "none"], &script);
    let (links, rest) = shown.split_once(' ').expect("a device");
    assert_eq!(links, "lo");
    assert!(rest.starts_with("2\n") && rest.contains("unreachable"), "{shown}");
    // The device is up, and low ports need no privilege.
    let talk = "(echo hello | nc -l -p 80 &); sleep 0.1; nc -w 5 127.0.0.1 80 </dev/null";
    assert_eq!(sh(&lrun, &["--network", "none", "-u", "alice"], talk), "hello");
}

#[test]
fn the_hosts_network_is_the_hosts() {
    let lrun = Lrun::with_busybox();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        std::io::Write::write_all(&mut client, b"hello\n").expect("greet");
    });
    assert_eq!(sh(&lrun, &["--network", "host"], &format!("nc -w 5 127.0.0.1 {port} </dev/null")), "hello");
    server.join().expect("the server");
    let mut own: Vec<_> = fs::read_dir("/sys/class/net").expect("devices").flatten().map(|e| e.file_name()).collect();
    own.sort();
    let own: Vec<_> = own.iter().map(|name| name.to_string_lossy()).collect();
    assert_eq!(sh(&lrun, &["--network", "host"], LINKS).trim_end(), own.join(" "));
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    assert_eq!(sh(&lrun, &["--network", "host"], "hostname"), name.trim_end());
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let shown = sh(&lrun, &["--network", "host", "--add-host", "db:10.0.0.7"], "cat /etc/hosts");
    assert!(shown.starts_with(hosts.trim_end()) && shown.contains("\n10.0.0.7\tdb"), "{shown}");
    let write = "for f in /sys/class/net/lo/mtu /sys/kernel/mm/transparent_hugepage/enabled; do
        [ ! -e $f ] || sh -c \"cat $f > $f\" 2>/dev/null && echo wrote $f; done; grep ' /sys ' /proc/mounts | grep -c ' ro,'";
    let written = sh(&lrun, &["--network", "host"], write);
    assert_eq!(written.lines().last(), Some("1"), "/sys is read-only: {written}");
    let refused = lrun.fails(125, &words(&["--network", "host", "--sysctl", "net.core.somaxconn=1"], "true"));
    assert!(refused.contains("no network namespace of its own"), "{refused}");
}

#[test]
fn pasta_connects_and_keeps_the_hosts_loopback_out_of_reach() {
    if !pasta() {
        skip!("pasta is not installed");
    }
    let lrun = Lrun::with_busybox();
    let four = TcpListener::bind("127.0.0.1:0").expect("a port");
    let six = TcpListener::bind("[::1]:0").ok();
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let ports = [Some(port(&four)), six.as_ref().map(port)];
    let mut script = "echo links $(ls /sys/class/net); echo up $(cat /sys/class/net/eth0/operstate)
        echo address $(ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1)
        gateway=$(ip route | awk '/^default/ {print $3}'); own=$(hostname -i)"
        .to_owned();
    for port in ports.into_iter().flatten() {
        script += &format!(
            "\nfor a in 127.0.0.1 ::1 $gateway $own localhost; do nc -w 2 $a {port} </dev/null && echo reached $a; done"
        );
    }
    let shown = lrun.run(&words(&[], &format!("{script}; true"))).stdout;
    assert!(shown.starts_with("links eth0 lo\nup "), "{shown}");
    assert!(!shown.contains("reached"), "{shown}");
    for listener in [Some(four), six].into_iter().flatten() {
        listener.set_nonblocking(true).expect("not to wait");
        assert!(listener.accept().is_err(), "somebody came");
    }
    // The name in /etc/hosts is that of the interface's address.
    let address = shown.lines().find_map(|line| line.strip_prefix("address ")).expect("an address");
    let hosts = sh(&lrun, &["-h", "box"], "tail -n 1 /etc/hosts; grep -c nameserver /etc/resolv.conf");
    assert!(hosts.starts_with(&format!("{address}\tbox\n")) && !hosts.ends_with("\n0"), "{hosts}");
    assert_eq!(sh(&lrun, &["--network", "bridge"], LINKS), "eth0 lo ", "docker's name for it");
}

/// A network namespace stands for the host, another address of it for the world.
#[test]
fn pasta_reaches_what_the_host_reaches() {
    if mode() != Mode::Root || !pasta() {
        skip!("it takes root to make a network, and pasta");
    }
    let lrun = Lrun::with_busybox();
    let script = "set -e; export PATH=$PATH:/usr/sbin:/sbin; ip link set lo up; ip addr add 203.0.113.5/32 dev lo
        ip tuntap add dev near mode tap; ip addr add 192.0.2.10/24 dev near; ip link set near up
        ip route add default via 192.0.2.1
        \"$@\" run -d --network host --name server busybox nc -ll -p 8080 -e cat /etc/hostname >/dev/null
        \"$@\" run --rm busybox sh -c 'while [ ! -s /tmp/got ]; do
            nc -w 1 203.0.113.5 8080 >>/tmp/got 2>/dev/null & sleep 0.1; done; cat /tmp/got'";
    let output = lrun.spawn_in(&["unshare", "--net", "sh", "-c", script, "sh"], &[] as &[&str]).wait();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    assert_eq!(output.stdout.lines().next(), Some(name.trim_end()), "the server's greeting");
}

/// Row 53, spoofed addresses: a service of the host sees that the host's own address comes to it, and never one of the
/// loopback device, which some trust. (Nothing comes the other way: no port of a container is published.)
#[test]
fn a_service_of_the_host_sees_no_loopback_address_come() {
    if mode() != Mode::Root || !pasta() {
        skip!("it takes root to make a network, and pasta");
    }
    let lrun = Lrun::with_busybox();
    let server = "import socket
s = socket.create_server(('0.0.0.0', 8080)); print('up', flush=True)
while True:
    c, peer = s.accept(); print(peer[0], flush=True); c.sendall(b'hello\\n'); c.close()";
    // Of a client that has ended its own side, pasta may lose the answer: another asks.
    let script = "set -e; export PATH=$PATH:/usr/sbin:/sbin; ip link set lo up; ip addr add 203.0.113.5/32 dev lo
        ip tuntap add dev near mode tap; ip addr add 192.0.2.10/24 dev near; ip link set near up
        ip route add default via 192.0.2.1
        python3 -c \"$0\" & server=$!; while ! ss -tln | grep -q :8080; do sleep 0.1; done
        \"$@\" run --rm busybox sh -c 'while [ ! -s /tmp/got ]; do
            nc -w 1 203.0.113.5 8080 >>/tmp/got 2>/dev/null & sleep 0.1; done; cat /tmp/got'; kill $server";
    let output = lrun.spawn_in(&["unshare", "--net", "sh", "-c", script, server], &[] as &[&str]).wait();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let (answers, peers): (Vec<&str>, Vec<&str>) = output.stdout.lines().partition(|line| *line == "hello");
    assert!(!answers.is_empty() && peers.len() > 1 && peers[0] == "up", "{}", output.stdout);
    assert!(peers[1..].iter().all(|peer| ["203.0.113.5", "192.0.2.10"].contains(peer)), "{peers:?}");
}

#[test]
fn names_and_servers_can_be_given() {
    let lrun = Lrun::with_busybox();
    let flags = [
        "--network",
        "none",
        "-h",
        "box",
        "--add-host",
        "db:10.0.0.7",
        "--add-host",
        "six=[fd00::7]",
        "--dns",
        "192.0.2.53",
        "--dns",
        "2001:db8::53",
        "--dns-search",
        "a.example",
        "--dns-search",
        "b.example",
        "--dns-option",
        "ndots:2",
    ];
    let expected = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
10.0.0.7\tdb
fd00::7\tsix
127.0.1.1\tbox
nameserver 192.0.2.53
nameserver 2001:db8::53
search a.example b.example
options ndots:2";
    assert_eq!(sh(&lrun, &flags, "cat /etc/hosts /etc/resolv.conf"), expected);
    assert!(!sh(&lrun, &["--network", "none", "--dns-search", "."], "cat /etc/resolv.conf").contains("search"));
    for (flag, value, complaint) in [
        ("--network=none", "--network=host", "--network \"none\" and \"host\": a container has one network"),
        ("--network=none", "--network=none", "network \"none\" is specified multiple times"),
        ("--add-host", "db", "bad format for add-host: \"db\""),
        ("--add-host", "db:nowhere", "invalid IP address in add-host: \"nowhere\""),
        ("--add-host", "db:host-gateway", "host-gateway: a container cannot reach its host"),
        ("--dns", "resolver", "IP address is not correctly formatted: resolver"),
        ("--dns-search", "a b", "a b is not a valid domain"),
        ("-h", "bad_name!", "invalid hostname format: bad_name!"),
        ("--network", "backend", "network backend not found"),
        ("--network", "container:web", "does not join another container's network"),
    ] {
        let refused = lrun.fails(125, &words(&[flag, value], "true"));
        assert!(refused.contains(complaint), "{flag} {value}: {refused}");
        assert!(refused.lines().count() <= 2, "{refused}");
    }
}

#[test]
fn the_files_can_be_changed_and_last() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "-d", "--network", "none", "--name", "web", "busybox", "sleep", "1000"]);
    lrun.ok(&["exec", "web", "sh", "-c", "echo 10.0.0.9 late >> /etc/hosts"]);
    assert!(lrun.ok(&["exec", "web", "cat", "/etc/hosts"]).ends_with("10.0.0.9 late"));
    assert_eq!(lrun.ok(&["diff", "web"]), "");
    lrun.ok(&["rm", "-f", "web"]);
}

#[test]
fn kernel_parameters_of_the_network_can_be_set() {
    let lrun = Lrun::with_busybox();
    let sysctls = [
        "--network",
        "none",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=99",
        "--sysctl",
        "kernel.msgmax=4096",
    ];
    let files = "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ip_unprivileged_port_start kernel/msgmax net/ipv4/ping_group_range";
    assert_eq!(sh(&lrun, &sysctls, files), "1\n99\n4096\n0\t0");
    for name in ["kernel.core_pattern", "net/../kernel.x", "vm.swappiness", "net.ipv4.a+b"] {
        let refused = lrun.fails(125, &words(&["--sysctl", &format!("{name}=1")], "true"));
        assert!(refused.contains(&format!("sysctl '{name}=1' is not allowed")), "{refused}");
    }
}

/// As root, in a mount namespace where pasta is no program.
#[test]
fn without_pasta_there_is_no_network_and_a_word_about_it() {
    if mode() != Mode::Root {
        skip!("only root can hide a program of the host's");
    }
    let lrun = Lrun::with_busybox();
    let hide = "for p in /usr/bin /bin /usr/sbin /sbin /usr/local/bin; do
        [ ! -e $p/pasta ] || mount --bind /dev/null $p/pasta; done; exec \"$@\"";
    let without = |words: &[&str]| lrun.spawn_in(&["unshare", "--mount", "sh", "-c", hide, "sh"], words).wait();
    let default = without(&words(&[], LINKS));
    assert_eq!((default.code, default.stdout.as_str()), (0, "lo "), "{}", default.stderr);
    assert_eq!(
        default.stderr,
        "lrun: no network in the container: pasta is not installed, so containers have no network of their own (install \
         the package passt)\n"
    );
    let asked = without(&words(&["--network", "pasta"], LINKS));
    assert_eq!(asked.code, 125);
    let expected = "lrun: pasta is not installed, so containers have no network of their own\n  hint: install the package \
                    passt, or use --network host or --network none\n";
    assert_eq!(asked.stderr, expected);
    assert_eq!(without(&words(&["--network", "none"], "true")).stderr, "", "nothing is said of what is not wanted");
}

/// As root, with a pasta that kills the container's first process before anything is executed in it.
#[test]
fn an_init_that_dies_early_is_named() {
    if mode() != Mode::Root || !pasta() {
        skip!("only root can replace a program of the host's, and pasta");
    }
    let lrun = Lrun::with_busybox();
    let pasta = lrun.file("pasta", "#!/bin/sh\nsleep 0.5; kill -9 2; sleep 0.3; echo 1; exec sleep 100\n");
    fs::set_permissions(&pasta, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let replace = format!(
        "for p in /usr/bin /usr/local/bin; do [ ! -e $p/pasta ] || mount --bind {} $p/pasta; done; exec \"$@\"",
        pasta.display()
    );
    let output = lrun.spawn_in(&["unshare", "--mount", "sh", "-c", &replace, "sh"], &words(&[], "true")).wait();
    assert_eq!((output.code, output.stdout.as_str()), (125, ""));
    assert!(output.stderr.contains("init died before the entrypoint was started: signal 9"), "{}", output.stderr);
}
