//! What command lines come to.

use std::ffi::OsString;
use std::path::Path;

use lrun_runtime::Result;
use lrun_runtime::container::options::{ExecOptions, RunOptions};

use super::{Cli, Command, InspectType, Usage};

fn argv(words: &[&str]) -> Vec<OsString> {
    ["lrun"].iter().chain(words).map(OsString::from).collect()
}

fn parse(words: &[&str]) -> Cli {
    super::parse(argv(words)).unwrap_or_else(|usage| panic!("{words:?}: {}", usage.text))
}

fn usage(words: &[&str]) -> Usage {
    super::parse(argv(words)).expect_err("a wrong command line")
}

fn lookup(name: &str) -> Option<String> {
    (name == "SET").then(|| "here".to_owned())
}

fn run_in(cwd: &Path, words: &[&str]) -> Result<RunOptions> {
    match parse(words).command {
        Command::Run(args) => args.into_options(&lookup, cwd),
        Command::Create(args) => args.into_options(&lookup, cwd),
        other => panic!("{other:?}"),
    }
}

fn run(words: &[&str]) -> RunOptions {
    run_in(Path::new("/home/u"), &[&["run"], words].concat()).unwrap()
}

fn run_error(words: &[&str]) -> String {
    run_in(Path::new("/home/u"), &[&["run"], words].concat()).unwrap_err().to_string()
}

fn exec(words: &[&str]) -> Result<ExecOptions> {
    match parse(&[&["exec"], words].concat()).command {
        Command::Exec(args) => args.into_options(&lookup, Path::new("/")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn clap_finds_nothing_wrong_with_the_definitions() {
    super::command().debug_assert();
    <Cli as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn flags_end_at_the_image() {
    let options = run(&["-it", "--rm", "img", "ls", "-l", "--rm=false", "--", "-it"]);
    assert_eq!((options.image.as_str(), options.tty, options.interactive, options.rm), ("img", true, true, true));
    assert_eq!(options.command, ["ls", "-l", "--rm=false", "--", "-it"]);
    // A flag of run's own as the first word after the image belongs to the command.
    assert_eq!(run(&["--entrypoint", "ls", "img", "-l", "/"]).command, ["-l", "/"]);
    assert_eq!(run(&["img", "--", "x"]).command, ["--", "x"]);
    assert_eq!(run(&["--", "img", "--rm"]).command, ["--rm"]);
    assert_eq!(exec(&["-t", "web", "ls", "-t", "--", "-d"]).unwrap().argv, ["ls", "-t", "--", "-d"]);
    let Command::Top(top) = parse(&["top", "web", "-eo", "pid,comm"]).command else { panic!() };
    assert_eq!((top.container(), top.ps_options()), ("web", ["-eo".to_owned(), "pid,comm".to_owned()].as_slice()));
}

#[test]
fn booleans_take_values_and_the_last_one_counts() {
    for (words, expected) in [
        (&["-t", "i"][..], true),
        (&["--tty=false", "i"], false),
        (&["--tty=0", "i"], false),
        (&["-t=false", "i"], false),
        (&["-t", "--tty=False", "i"], false),
        (&["--tty=false", "--tty", "i"], true),
        (&["-itd", "i"], true),
    ] {
        assert_eq!(run(words).tty, expected, "{words:?}");
    }
    assert!(
        run(&["i"]).sig_proxy && !run(&["--sig-proxy=false", "i"]).sig_proxy && run(&["--sig-proxy", "i"]).sig_proxy
    );
    let commit = |words: &[&str]| match parse(words).command {
        Command::Commit(args) => args.pauses(),
        other => panic!("{other:?}"),
    };
    assert!(commit(&["commit", "c"]) && commit(&["commit", "-p", "c"]) && commit(&["commit", "-p=true", "c", "i"]));
    assert!(!commit(&["commit", "--pause=false", "c"]) && !commit(&["commit", "--no-pause", "c"]));
    let Command::History(history) = parse(&["history", "-H=false", "i"]).command else { panic!() };
    assert!(!history.human);
}

#[test]
fn values_may_begin_with_a_hyphen() {
    assert_eq!(run(&["--pids-limit", "-1", "--stop-timeout", "-1", "-e", "-x=1", "i"]).stop_timeout, Some(-1));
    let Command::Stop(stop) = parse(&["stop", "-t", "-1", "--time=1", "-s", "INT", "a", "b"]).command else { panic!() };
    assert_eq!((stop.timeout, stop.signal().unwrap().map(|s| s.number())), (Some(1), Some(2)));
    assert_eq!(stop.containers, ["a", "b"]);
    let Command::Ps(ps) = parse(&["ps", "-n", "-1", "-aq", "-f", "status=exited", "--filter=name=x"]).command else {
        panic!()
    };
    assert_eq!((ps.last, ps.all, ps.quiet, ps.filter.len()), (-1, true, true, 2));
}

#[test]
fn options_of_other_commands_may_follow_the_names() {
    let Command::Rm(rm) = parse(&["rm", "a", "-f", "b", "-v"]).command else { panic!() };
    assert_eq!((rm.containers, rm.force, rm.volumes), (vec!["a".to_owned(), "b".to_owned()], true, true));
    let Command::Import(import) = parse(&["import", "-", "stage0", "-c", "CMD x", "-m", "hi"]).command else {
        panic!()
    };
    assert_eq!((import.source.as_str(), import.is_url()), ("-", false));
    let Command::Logs(logs) = parse(&["logs", "c", "-ft", "-n", "5", "--since=1m"]).command else { panic!() };
    assert_eq!((logs.follow, logs.timestamps, logs.tail_lines()), (true, true, Some(5)));
    let Command::Logs(logs) = parse(&["logs", "c"]).command else { panic!() };
    assert_eq!(logs.tail_lines(), None);
}

#[test]
fn long_forms_come_out_as_the_short_ones() {
    for (words, expected) in [
        (&["container", "ls", "-a"][..], "Ps"),
        (&["container", "ps"], "Ps"),
        (&["container", "list"], "Ps"),
        (&["ls"], "Ps"),
        (&["container", "run", "i"], "Run"),
        (&["container", "rm", "x"], "Rm"),
        (&["image", "ls"], "Images"),
        (&["image", "rm", "x"], "Rmi"),
        (&["image", "import", "-"], "Import"),
        (&["image", "tag", "a", "b"], "Tag"),
    ] {
        let shown = format!("{:?}", parse(words).command);
        assert!(shown.starts_with(&format!("{expected}(")), "{words:?}: {shown}");
    }
    let kind = |words: &[&str]| match parse(words).command {
        Command::Inspect(args) => args.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(&["image", "inspect", "x"]), Some(InspectType::Image));
    assert_eq!(kind(&["container", "inspect", "x"]), Some(InspectType::Container));
    assert_eq!(kind(&["inspect", "--type=image", "x"]), Some(InspectType::Image));
    assert_eq!(kind(&["inspect", "x"]), None);
}

#[test]
fn global_options_go_before_the_command() {
    let cli = parse(&["--root", "/r", "--idmap=Single", "-D", "-l", "warn", "run", "-l", "a=b", "i"]);
    assert_eq!(cli.global.root.as_deref(), Some(Path::new("/r")));
    assert_eq!((cli.global.idmap, cli.global.debug), (Some(super::IdMapChoice::Single), true));
}

#[test]
fn wrong_command_lines() {
    let lines: Vec<String> = [
        &["foo"][..],
        &["image", "foo"],
        &["foo", "ls"],
        &["network", "ls"],
        &["image", "build"],
        &["run"],
        &["run", "--foo", "i"],
        &["run", "--entrypont", "x", "i"],
        &["run", "-y", "i"],
        &["run", "-e"],
        &["run", "--tty=maybe", "i"],
        &["run", "--privileged", "i"],
        &["stop", "-t", "x", "c"],
        &["stop"],
        &["rename", "a"],
        &["rename", "a", "b", "c"],
        &["exec", "c"],
        &["top"],
        &["ps", "x"],
        &["images", "a", "b"],
        &["commit"],
        &["ps", "--foo"],
        &["inspect", "--type", "pod", "x"],
        &["--idmap", "x", "ps"],
        &["--root"],
        &["vol", "ls"],
        &["--root", "ps", "vol", "ls"],
        &["--foo", "ps"],
    ]
    .iter()
    .map(|words| {
        let usage = usage(words);
        assert!(!usage.stdout);
        format!("{} {}", usage.exit_code, usage.text)
    })
    .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    1 lrun: 'foo' is not a lrun command. See 'lrun --help'.
    1 lrun: 'foo' is not a lrun image command. See 'lrun image --help'.
    1 lrun: 'foo' is not a lrun command. See 'lrun --help'.
    1 lrun: network: this version of lrun has no networks of the user's
      hint: --network is pasta, host or none; --add-host names an address
    1 lrun: 'lrun image build' requires 1 argument. See 'lrun image build --help'.
    1 lrun: 'lrun run' requires at least 1 argument. See 'lrun run --help'.
    125 lrun: unknown flag: --foo. See 'lrun run --help'.
    125 lrun: unknown flag: --entrypont (did you mean --entrypoint?). See 'lrun run --help'.
    125 lrun: unknown shorthand flag: 'y' in -y. See 'lrun run --help'.
    125 lrun: flag needs an argument: --env. See 'lrun run --help'.
    125 lrun: invalid argument "maybe" for "--tty" flag: parsing "maybe": invalid syntax. See 'lrun run --help'.
    125 lrun: --privileged: a container never has the privileges of the host's root
      hint: --cap-add ALL --security-opt seccomp=unconfined --security-opt systempaths=unconfined gives what there is to give, --device a device
    125 lrun: invalid argument "x" for "--timeout" flag: parsing "x": invalid syntax. See 'lrun stop --help'.
    1 lrun: 'lrun stop' requires at least 1 argument. See 'lrun stop --help'.
    1 lrun: 'lrun rename' requires 2 arguments. See 'lrun rename --help'.
    1 lrun: 'lrun rename' requires 2 arguments. See 'lrun rename --help'.
    1 lrun: 'lrun exec' requires at least 2 arguments. See 'lrun exec --help'.
    1 lrun: 'lrun top' requires at least 1 argument. See 'lrun top --help'.
    1 lrun: 'lrun ps' accepts no arguments. See 'lrun ps --help'.
    1 lrun: 'lrun images' requires at most 1 argument. See 'lrun images --help'.
    1 lrun: 'lrun commit' requires at least 1 and at most 2 arguments. See 'lrun commit --help'.
    125 lrun: unknown flag: --foo. See 'lrun ps --help'.
    1 lrun: "pod" is not a valid value for --type: it is one of container, image, network, volume. See 'lrun inspect --help'.
    125 lrun: invalid argument "x" for "--idmap" flag: must be one of auto, subids, single, root. See 'lrun ps --help'.
    125 lrun: flag needs an argument: --root. See 'lrun --help'.
    1 lrun: 'vol' is not a lrun command. See 'lrun --help'.
    1 lrun: 'vol' is not a lrun command. See 'lrun --help'.
    125 lrun: unknown flag: --foo (did you mean --root?). See 'lrun --help'.
    "#);
}

#[test]
fn help_and_version_are_answers() {
    for words in
        [&["--help"][..], &["run", "--help"], &["ps", "-h"], &["image"], &[], &["help", "rm"], &["--version"], &["-v"]]
    {
        let usage = usage(words);
        assert!(usage.stdout && usage.exit_code == 0, "{words:?}: {}", usage.text);
    }
    assert!(usage(&["-v"]).text.starts_with("lrun version "));
    insta::assert_snapshot!(usage(&["rm", "--help"]).text, @r#"
    Remove containers

    Usage: lrun rm [OPTIONS] [CONTAINER]...

    Arguments:
      [CONTAINER]...  Names or ids

    Options:
      -a, --all             All containers
      -f, --force           Kill and remove running containers too
      -i, --ignore          A container that does not exist is no failure
      -t, --time <SECONDS>  With --force: seconds until a running container is killed
      -v, --volumes         Remove their anonymous volumes too
          --no-trash        Delete at once: do not keep what `lrun undelete` could bring back
      -h, --help            Print help
    "#);
    let run = usage(&["run", "--help"]).text;
    assert!(run.contains("Usage: lrun run [OPTIONS] IMAGE [COMMAND] [ARG...]"), "{run}");
    let headings =
        ["Options:", "-d, --detach", "Environment:", "--env-file", "Network:", "--dns", "Security:", "--cap-add"];
    assert!(headings.map(|heading| run.find(heading)).is_sorted_by(|a, b| a.is_some() && a < b), "{run}");
    assert!(run.contains("-h, --hostname <NAME>") && run.contains("--read-only\n"), "{run}");
    assert_eq!(run_in(Path::new("/"), &["run", "-h", "box", "i"]).unwrap().hostname.as_deref(), Some("box"));
}

#[test]
fn everything_becomes_options() {
    let words = "-a STDOUT -a stderr --add-host db:10.0.0.1 --annotation k=v --cap-add net_raw --cap-drop=ALL --cidfile id --cpus 0 \
        --detach-keys= --device /dev/fuse --dns 1.1.1.1 --dns-opt ndots:1 --dns-search . --domainname example.org \
        -e A=1 -e SET -e UNSET -eA=2 --entrypoint= --expose 80 --expose 90-91/udp --group-add 7 -h box --init -i -l a=b --log-opt max-size=-1 -m 0 \
        --mount type=tmpfs,dst=/m --name /web --net none --pids-limit=-1 --read-only --rm \
        --security-opt no-new-privileges --shm-size 1g --stop-signal INT --stop-timeout 3 --sysctl kernel.shmmax=1 \
        --tmpfs /t:size=1m -t --ulimit nofile=5 --ulimit nofile=6 -u 1:2 -v ./s:/s:ro,z -w /w/ img:1 cmd arg";
    let options = run(&words.split_whitespace().collect::<Vec<_>>());
    insta::assert_snapshot!(pretty(&options), @r#"
    name: "web"
    image: "img:1"
    command: ["cmd","arg"]
    entrypoint: []
    env: [{"name":"A","value":"2"},{"name":"SET","value":"here"},{"name":"UNSET","value":null}]
    user: "1:2"
    groups: [7]
    workdir: "/w"
    hostname: "box"
    domainname: "example.org"
    tty: true
    interactive: true
    detach: false
    rm: true
    init: true
    read_only: true
    labels: {"a":"b"}
    annotations: {"k":"v"}
    mounts: [{"type":"bind","source":"/home/u/s","target":"/s","access":"read-only","recursive":true,"propagation":"rprivate","create":true},{"type":"tmpfs","target":"/m","options":["noexec","nosuid","nodev"]},{"type":"tmpfs","target":"/t","options":["noexec","nosuid","nodev","size=1m"]}]
    network: "none"
    expose: ["80/tcp","90/udp","91/udp"]
    add_hosts: [{"name":"db","address":"10.0.0.1"}]
    dns: {"servers":["1.1.1.1"],"search":["."],"options":["ndots:1"]}
    ulimits: [{"resource":"RLIMIT_NOFILE","soft":6,"hard":6}]
    oom_score_adj: null
    shm_size: 1073741824
    capabilities: {"add":["CAP_NET_RAW"],"drop":["ALL"]}
    security: {"no_new_privileges":true,"seccomp":"default","unconfined_paths":false}
    devices: [{"source":"/dev/fuse","target":"/dev/fuse"}]
    sysctls: {"kernel.shmmax":"1"}
    stop_signal: "INT"
    stop_timeout: 3
    attach: {"stdin":true,"stdout":true,"stderr":true}
    sig_proxy: true
    detach_keys: ""
    cidfile: "id"
    log: {"max_size":null,"max_files":5,"none":false}
    "#);
    insta::assert_snapshot!(pretty(&run(&["i"])), @r#"
    name: null
    image: "i"
    command: []
    entrypoint: null
    env: []
    user: null
    groups: []
    workdir: null
    hostname: null
    domainname: null
    tty: false
    interactive: false
    detach: false
    rm: false
    init: false
    read_only: false
    labels: {}
    annotations: {}
    mounts: []
    network: "default"
    expose: []
    add_hosts: []
    dns: {"servers":[],"search":[],"options":[]}
    ulimits: []
    oom_score_adj: null
    shm_size: null
    capabilities: {"add":[],"drop":[]}
    security: {"no_new_privileges":false,"seccomp":"default","unconfined_paths":false}
    devices: []
    sysctls: {}
    stop_signal: null
    stop_timeout: null
    attach: {"stdin":false,"stdout":true,"stderr":true}
    sig_proxy: true
    detach_keys: null
    cidfile: null
    log: {"max_size":33554432,"max_files":5,"none":false}
    "#);
}

/// A line for each field, as JSON.
fn pretty(options: &RunOptions) -> String {
    match serde_json::to_value(options).unwrap() {
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
        }
        other => panic!("{other}"),
    }
}

#[test]
fn streams_are_attached_as_docker_attaches_them() {
    let streams = |words: &[&str]| {
        let attach = run(words).attach;
        (attach.stdin, attach.stdout, attach.stderr)
    };
    assert_eq!(streams(&["i"]), (false, true, true));
    assert_eq!(streams(&["-i", "i"]), (true, true, true));
    assert_eq!(streams(&["-i", "-a", "stderr", "i"]), (true, false, true));
    assert_eq!(streams(&["-a", "stderr", "i"]), (false, false, true));
    assert_eq!(streams(&["-i", "-d", "i"]), (false, false, false));
    assert!(run(&["-d", "--rm", "i"]).detach);
    let both = match parse(&["run", "-d", "-a", "stdin", "i"]).command {
        Command::Run(args) => args.check_attach().unwrap_err().to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(both, "conflicting options: cannot specify both --attach and --detach");
}

#[test]
fn wrong_values_name_flag_and_value() {
    let lines = [
        &["-e", "=x", "i"][..],
        &["-v", "data:/x", "i"],
        &["-v", "/a:/x", "--tmpfs", "/x", "i"],
        &["-v", "/a:/x", "-v", "/a:/x", "-v", "/b:/x", "i"],
        &["--cap-drop", "fly", "i"],
        &["--expose", "80000", "i"],
        &["-u", "-1", "i"],
        &["--name", "a b", "i"],
        &["-w", "rel", "i"],
        &["-m", "512m", "i"],
        &["-u", "4294967296", "i"],
        &["-a", "tty", "i"],
        &["--log-opt", "x", "i"],
        &["--detach-keys", "ctrl-1", "i"],
        &["--env-file", "/nonexistent/env", "i"],
        &["--env-file", "/dev/zero", "i"],
        &["--security-opt", "seccomp=/nonexistent/p", "i"],
    ]
    .map(run_error);
    insta::assert_snapshot!(lines.join("\n"), @r#"
    invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x
    named volume "data": this version of lrun has no volumes
    Duplicate mount point: /x
    Duplicate mount point: /x
    invalid argument "fly" for "--cap-drop" flag: invalid CapDrop: unknown capability: "CAP_FLY"
    invalid argument "80000" for "--expose" flag: invalid range format for --expose: invalid containerPort: 80000
    invalid argument "-1" for "-u, --user" flag: invalid user '-1': uids and gids must be in range 0-4294967294
    invalid argument "a b" for "--name" flag: Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed
    invalid argument "rel" for "-w, --workdir" flag: the working directory 'rel' is invalid, it needs to be an absolute path
    --memory 512m cannot be enforced: this version of lrun does not set cgroup limits
    invalid argument "4294967296" for "-u, --user" flag: invalid user '4294967296': uids and gids must be in range 0-4294967294
    invalid argument "tty" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR
    invalid argument "x" for "--log-opt" flag: invalid logging opt 'x': must be a key=value pair
    invalid argument "ctrl-1" for "--detach-keys" flag: invalid detach keys (ctrl-1): unknown key 'ctrl-1'
    read env file /nonexistent/env: no such file or directory
    read env file /dev/zero: larger than 64 MiB
    open seccomp profile (/nonexistent/p): no such file or directory
    "#);
}

#[test]
fn files_are_read_before_the_flags() {
    let cwd = std::env::temp_dir().join(format!("lrun-args-{}", std::process::id()));
    std::fs::create_dir_all(&cwd).unwrap();
    std::fs::write(cwd.join("env"), "A=file\nSET\nUNSET\nB=file\n").unwrap();
    std::fs::write(cwd.join("labels"), "a=file\nb=file\n").unwrap();
    let words =
        ["create", "-e", "A=flag", "--env-file", "env", "-e", "B", "-l", "a=flag", "--label-file", "labels", "i"];
    let options = run_in(&cwd, &words);
    std::fs::remove_dir_all(&cwd).unwrap();
    let options = options.unwrap();
    let vars: Vec<_> = options.env.iter().map(|var| (var.name.as_str(), var.value.as_deref())).collect();
    assert_eq!(vars, [("A", Some("flag")), ("SET", Some("here")), ("B", None)]);
    assert_eq!(options.labels.into_iter().collect::<Vec<_>>().len(), 2);
}

#[test]
fn exec_options() {
    let options =
        exec(&["-it", "-u", "www-data", "-w", "/srv", "-e", "SET", "-d=false", "--detach-keys=", "web", "id"]);
    let options = options.unwrap();
    assert_eq!((options.tty, options.interactive, options.detach), (true, true, false));
    assert_eq!(options.user.map(|user| user.to_string()).as_deref(), Some("www-data"));
    assert_eq!((options.workdir.as_deref(), options.detach_keys.as_deref()), (Some("/srv"), Some("")));
    assert_eq!(options.env[0].assignment().as_deref(), Some("SET=here"));
}

#[test]
fn what_is_not_served_is_refused_with_a_way_out() {
    let refusals = [
        &["-p", "80:80"][..],
        &["--publish-all"],
        &["--restart=always"],
        &["--privileged"],
        &["--pid", "host"],
        &["-c", "512"],
        &["--gpus", "all"],
        &["--volumes-from", "x\u{1b}[2J"],
    ]
    .map(|flags| {
        let refused = usage(&[&["run"], flags, &["i"]].concat());
        assert_eq!((refused.exit_code, refused.stdout), (125, false), "{flags:?}");
        let long = usage(&[&["container", "create"], flags, &["i"]].concat());
        assert_eq!(long, refused, "in create, too");
        refused.text
    });
    insta::assert_snapshot!(refusals.join("\n"), @r"
    lrun: --publish 80:80: this version of lrun does not publish ports
      hint: with --network host the command listens on the host's own addresses
    lrun: --publish-all: this version of lrun does not publish ports
      hint: with --network host the command listens on the host's own addresses
    lrun: --restart always: this version of lrun does not restart containers by itself
      hint: `lrun restart NAME` starts one again
    lrun: --privileged: a container never has the privileges of the host's root
      hint: --cap-add ALL --security-opt seccomp=unconfined --security-opt systempaths=unconfined gives what there is to give, --device a device
    lrun: --pid host: every container has processes of its own
      hint: `lrun exec` runs a command beside those of a container, `lrun top` lists them
    lrun: --cpu-shares 512: this version of lrun sets nothing on cgroups
      hint: leave it out
    lrun: --gpus all: lrun does not look for devices
      hint: give each by its path: --device /dev/NAME
    lrun: --volumes-from x\x1b[2J: this version of lrun has no volumes
      hint: give a directory of the host: -v /absolute/path:/target
    ");
}

#[test]
fn so_are_those_of_other_commands() {
    for (words, flag) in [
        (&["rm", "-l", "a/b"][..], "--link: "),
        (&["container", "rm", "--link", "a/b"], "--link: "),
        (&["start", "--checkpoint", "c1", "web"], "--checkpoint c1: "),
        (&["images", "--tree"], "--tree: "),
        (&["image", "ls", "--tree"], "--tree: "),
        (&["exec", "--privileged", "web", "true"], "--privileged: "),
    ] {
        let refused = usage(words);
        assert!(refused.exit_code == 125 && refused.text.starts_with(&format!("lrun: {flag}")), "{}", refused.text);
    }
    parse(&["rm", "--link=false", "a"]);
    parse(&["exec", "--privileged=false", "web", "ls", "--privileged"]);
}

#[test]
fn flags_that_ask_for_what_happens_anyway_are_accepted() {
    let plain = pretty(&run(&["i"]));
    for flags in [
        &["-q"][..],
        &["--restart", "no"],
        &["--restart="],
        &["-P=false", "--privileged=false", "--oom-kill-disable=0"],
        &["--memory-swap", "-1", "--cpu-shares", "0", "--cpuset-cpus", ""],
        &["--userns", "host"],
        &["--userns", "private", "--pid", "private", "--ipc", "private", "--uts", "private", "--cgroupns", "private"],
        &["--no-healthcheck", "--health-interval=0s", "--isolation", "default", "--disable-content-trust"],
        &["--pull", "missing", "--platform", "amd64", "--log-driver", "json-file"],
    ] {
        assert_eq!(pretty(&run(&[flags, &["i"]].concat())), plain, "{flags:?}");
    }
    // Where docker's daemon is.
    for flags in
        [&["-H", "unix:///var/run/docker.sock"][..], &["--context", "default", "--tls=false"], &["-c", "default"]]
    {
        parse(&[flags, &["ps"]].concat());
    }
    for flags in [&["-H", "ssh://else"][..], &["--context", "other"], &["--tlsverify"]] {
        let refused = usage(&[flags, &["ps"]].concat());
        assert!(refused.exit_code == 125 && refused.text.contains("has no daemon"), "{}", refused.text);
    }
    // Signatures are not checked, so nobody shall believe that they are.
    for command in ["run", "pull", "push", "build"] {
        let refused = usage(&[command, "--disable-content-trust=false", "i"]);
        assert!(refused.exit_code == 125 && refused.text.contains("and no signatures"), "{}", refused.text);
    }
    for flags in [["--pull", "later"], ["--platform", "windows/x"], ["--log-driver", "syslog"]] {
        run_error(&[&flags[..], &["i"]].concat());
    }
    assert!(run(&["--log-driver", "none", "i"]).log.none);
}
