//! Tables of what each parser takes and refuses, and properties of all of them.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use super::{env, limits, mounts, network, security, user};

fn none(_: &str) -> Option<String> {
    None
}

/// What the parser makes of a text, as JSON or as the error's words.
fn shown<T: Serialize>(result: Result<T>) -> String {
    match result {
        Ok(value) => serde_json::to_string(&value).unwrap(),
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

/// `text → what came of it`, a line each.
fn table<T: Serialize>(texts: &[&str], parse: impl Fn(&str) -> Result<T>) -> String {
    let line = |text: &&str| {
        format!("{text} → {}", shown(parse(text))).replace('\n', "\\n").replace('\0', "\\0").trim_end().to_owned()
    };
    texts.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn volumes() {
    let texts = [
        "/a:/b",
        "/a/../c//:/b/./d/",
        "/a:/b:ro",
        "/a:/b:rw,Z,rslave,cached",
        "./x:/b",
        "..:/b:ro,shared",
        "data:/b",
        "/b",
        "~/x:/b",
        "a/b:/c",
        "",
        ":",
        "/a:",
        ":/b",
        "/a:/b:",
        "/a:ro",
        "/a:b",
        "/a:/",
        "/a:/..",
        "/a:/proc",
        "/a:/x/../proc/sys/kernel",
        "/a:/proc/cpuinfo:ro",
        "/a:/procfs",
        "/a:/b:ro,rw",
        "/a:/b:shiny",
        "/a:/b:nocopy",
        "/a:/b:ro:x",
        "/a:/b:,",
    ];
    insta::assert_snapshot!(table(&texts, |text| mounts::parse_volume(text, Path::new("/home/u/p"))), @r#"
    /a:/b → {"type":"bind","source":"/a","target":"/b","access":"read-write","recursive":true,"propagation":"rprivate","create":true}
    /a/../c//:/b/./d/ → {"type":"bind","source":"/c","target":"/b/d","access":"read-write","recursive":true,"propagation":"rprivate","create":true}
    /a:/b:ro → {"type":"bind","source":"/a","target":"/b","access":"read-only","recursive":true,"propagation":"rprivate","create":true}
    /a:/b:rw,Z,rslave,cached → {"type":"bind","source":"/a","target":"/b","access":"read-write","recursive":true,"propagation":"rslave","create":true}
    ./x:/b → {"type":"bind","source":"/home/u/p/x","target":"/b","access":"read-write","recursive":true,"propagation":"rprivate","create":true}
    ..:/b:ro,shared → Unsupported: bind propagation shared: mounts of a container cannot show on the host
    data:/b → Unsupported: named volume "data": this version of lrun has no volumes
    /b → Unsupported: anonymous volume at /b: this version of lrun has no volumes
    ~/x:/b → Invalid: "~/x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path
    a/b:/c → Invalid: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path
     → Invalid: invalid empty volume spec
    : → Invalid: invalid spec: :: empty section between colons
    /a: → Invalid: invalid spec: /a:: empty section between colons
    :/b → Invalid: invalid spec: :/b: empty section between colons
    /a:/b: → Invalid: invalid spec: /a:/b:: empty section between colons
    /a:ro → Invalid: invalid volume specification: '/a:ro'
    /a:b → Invalid: invalid mount path: 'b' mount path must be absolute
    /a:/ → Invalid: invalid specification: destination can't be '/'
    /a:/.. → Invalid: invalid specification: destination can't be '/'
    /a:/proc → Invalid: invalid mount path: '/proc' cannot be mounted because it is inside /proc
    /a:/x/../proc/sys/kernel → Invalid: invalid mount path: '/proc/sys/kernel' cannot be mounted because it is inside /proc
    /a:/proc/cpuinfo:ro → {"type":"bind","source":"/a","target":"/proc/cpuinfo","access":"read-only","recursive":true,"propagation":"rprivate","create":true}
    /a:/procfs → {"type":"bind","source":"/a","target":"/procfs","access":"read-write","recursive":true,"propagation":"rprivate","create":true}
    /a:/b:ro,rw → Invalid: invalid mode: ro,rw
    /a:/b:shiny → Invalid: invalid mode: shiny
    /a:/b:nocopy → Invalid: invalid volume specification: '/a:/b:nocopy'
    /a:/b:ro:x → Invalid: invalid spec: /a:/b:ro:x: too many colons
    /a:/b:, → Invalid: invalid mode: ,
    "#);
}

#[test]
fn mount_flags() {
    let texts = [
        "type=bind,source=/a,target=/b",
        "TYPE=bind,src=./a,dst=/b,ro",
        "type=bind,src=.,destination=/b,readonly=false,consistency=cached",
        "type=bind,src=/a,dst=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate",
        "type=bind,src=/a,dst=/b,readonly,bind-recursive=writable",
        "type=bind,src=/a,dst=/b,bind-recursive=disabled,bind-propagation=rslave",
        "type=bind,\"src=/a,b\",dst=/b",
        "\"type=bind\",\"src=/a\"\"q\",dst=/b",
        "type=tmpfs,dst=/b",
        "type=tmpfs,dst=/b,tmpfs-size=1.5g,tmpfs-mode=1770,ro",
        "type=volume,src=data,dst=/b",
        "dst=/b",
        "type=image,src=x,dst=/b",
        "type=shiny,dst=/b",
        "type=bind,src=/a",
        "type=bind,dst=/b",
        "type=bind,src=a,dst=/b",
        "type=bind,src=/a,dst=b",
        "type=bind,src=/a,dst=/b,readonly=maybe",
        "type=bind,src=/a,dst=/b,bind-recursive=readonly",
        "type=bind,src=/a,dst=/b,bind-recursive=no",
        "type=bind,src=/a,dst=/b,bind-propagation=far",
        "type=bind,src=/a,dst=/b,tmpfs-size=1",
        "type=tmpfs,dst=/b,src=/a",
        "type=tmpfs,dst=/b,bind-propagation=rslave",
        "type=tmpfs,dst=/b,tmpfs-mode=8",
        "type=tmpfs,dst=/b,volume-label=x",
        "type=bind,src=/a,dst",
        "type=bind,src=,dst=/b",
        "type=bind, src=/a,dst=/b",
        "type=bind,src= /a,dst=/b",
        "type=bind,shiny=1",
        "type=bind,src=/a\"b,dst=/c",
        "type=bind,\"src=/a,dst=/c",
        "type=bind,\"src=/a\"x,dst=/c",
        "",
    ];
    insta::assert_snapshot!(table(&texts, |text| mounts::parse_mount(text, Path::new("/home/u"))), @r#"
    type=bind,source=/a,target=/b → {"type":"bind","source":"/a","target":"/b","access":"read-write","recursive":true,"propagation":"rprivate","create":false}
    TYPE=bind,src=./a,dst=/b,ro → {"type":"bind","source":"/home/u/a","target":"/b","access":"read-only","recursive":true,"propagation":"rprivate","create":false}
    type=bind,src=.,destination=/b,readonly=false,consistency=cached → {"type":"bind","source":"/home/u","target":"/b","access":"read-write","recursive":true,"propagation":"rprivate","create":false}
    type=bind,src=/a,dst=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate → {"type":"bind","source":"/a","target":"/b","access":"read-only","recursive":true,"propagation":"rprivate","create":false}
    type=bind,src=/a,dst=/b,readonly,bind-recursive=writable → {"type":"bind","source":"/a","target":"/b","access":"read-only-top","recursive":true,"propagation":"rprivate","create":false}
    type=bind,src=/a,dst=/b,bind-recursive=disabled,bind-propagation=rslave → {"type":"bind","source":"/a","target":"/b","access":"read-write","recursive":false,"propagation":"rslave","create":false}
    type=bind,"src=/a,b",dst=/b → {"type":"bind","source":"/a,b","target":"/b","access":"read-write","recursive":true,"propagation":"rprivate","create":false}
    "type=bind","src=/a""q",dst=/b → {"type":"bind","source":"/a\"q","target":"/b","access":"read-write","recursive":true,"propagation":"rprivate","create":false}
    type=tmpfs,dst=/b → {"type":"tmpfs","target":"/b","options":["noexec","nosuid","nodev"]}
    type=tmpfs,dst=/b,tmpfs-size=1.5g,tmpfs-mode=1770,ro → {"type":"tmpfs","target":"/b","options":["noexec","nosuid","nodev","mode=1770","ro","size=1610612736"]}
    type=volume,src=data,dst=/b → Unsupported: mount of type volume (data): this version of lrun has no volumes
    dst=/b → Unsupported: mount of type volume (anonymous): this version of lrun has no volumes
    type=image,src=x,dst=/b → Unsupported: mount type "image" is not served
    type=shiny,dst=/b → Invalid: mount type unknown: "shiny"
    type=bind,src=/a → Invalid: target is required
    type=bind,dst=/b → Invalid: invalid mount config for type "bind": field Source must not be empty
    type=bind,src=a,dst=/b → Invalid: invalid mount config for type "bind": invalid mount path: 'a' mount path must be absolute
    type=bind,src=/a,dst=b → Invalid: invalid mount path: 'b' mount path must be absolute
    type=bind,src=/a,dst=/b,readonly=maybe → Invalid: invalid value for 'readonly': invalid boolean value ("maybe"): must be one of "true", "1", "false", or "0" (default "true")
    type=bind,src=/a,dst=/b,bind-recursive=readonly → Invalid: option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction
    type=bind,src=/a,dst=/b,bind-recursive=no → Invalid: invalid value for bind-recursive: no (must be "enabled", "disabled", "writable", or "readonly")
    type=bind,src=/a,dst=/b,bind-propagation=far → Invalid: invalid value for bind-propagation: far
    type=bind,src=/a,dst=/b,tmpfs-size=1 → Invalid: cannot mix 'tmpfs-*' options with mount type 'bind'
    type=tmpfs,dst=/b,src=/a → Invalid: invalid mount config for type "tmpfs": field Source must not be specified
    type=tmpfs,dst=/b,bind-propagation=rslave → Invalid: cannot mix 'bind-*' options with mount type 'tmpfs'
    type=tmpfs,dst=/b,tmpfs-mode=8 → Invalid: invalid value for tmpfs-mode: 8
    type=tmpfs,dst=/b,volume-label=x → Invalid: cannot mix 'volume-*' options with mount type 'tmpfs'
    type=bind,src=/a,dst → Invalid: invalid field 'dst' must be a key=value pair
    type=bind,src=,dst=/b → Invalid: invalid value for 'src': value is empty
    type=bind, src=/a,dst=/b → Invalid: invalid option ' src' in ' src=/a': option should not have whitespace
    type=bind,src= /a,dst=/b → Invalid: invalid value for 'src' in 'src= /a': value should not have whitespace
    type=bind,shiny=1 → Invalid: unknown option 'shiny' in 'shiny=1'
    type=bind,src=/a"b,dst=/c → Invalid: parse error in 'type=bind,src=/a"b,dst=/c': bare " in non-quoted field
    type=bind,"src=/a,dst=/c → Invalid: parse error: extraneous or missing " in quoted field
    type=bind,"src=/a"x,dst=/c → Invalid: parse error in 'type=bind,"src=/a"x,dst=/c': extraneous or missing " in quoted field
     → Invalid: value is empty
    "#);
}

#[test]
fn tmpfs() {
    let texts = [
        "/run",
        "/run:",
        "/run:rw,exec,size=64m,mode=1777,size=32m",
        "/run:uid=0,gid=5,nr_inodes=1k,strictatime,defaults",
        "/run:size=50%",
        "run",
        "/",
        "/run:shiny",
        "/run:size=",
        "/run:size=x",
        "/run:mode=999",
        "/run:uid=4294967295",
        "/run:lowerdir=/etc",
        "/run:exec,,ro",
    ];
    insta::assert_snapshot!(table(&texts, mounts::parse_tmpfs), @r#"
    /run → {"type":"tmpfs","target":"/run","options":["noexec","nosuid","nodev"]}
    /run: → {"type":"tmpfs","target":"/run","options":["noexec","nosuid","nodev"]}
    /run:rw,exec,size=64m,mode=1777,size=32m → {"type":"tmpfs","target":"/run","options":["nosuid","nodev","rw","exec","mode=1777","size=32m"]}
    /run:uid=0,gid=5,nr_inodes=1k,strictatime,defaults → {"type":"tmpfs","target":"/run","options":["noexec","nosuid","nodev","uid=0","gid=5","nr_inodes=1k","strictatime"]}
    /run:size=50% → {"type":"tmpfs","target":"/run","options":["noexec","nosuid","nodev","size=50%"]}
    run → Invalid: invalid mount path: 'run' mount path must be absolute
    / → Invalid: invalid specification: destination can't be '/'
    /run:shiny → Invalid: invalid tmpfs option ["shiny"]
    /run:size= → Invalid: invalid tmpfs option ["size="]
    /run:size=x → Invalid: invalid tmpfs option ["size=x"]
    /run:mode=999 → Invalid: invalid tmpfs option ["mode=999"]
    /run:uid=4294967295 → Invalid: invalid tmpfs option ["uid=4294967295"]
    /run:lowerdir=/etc → Invalid: invalid tmpfs option ["lowerdir=/etc"]
    /run:exec,,ro → Invalid: invalid tmpfs option [""]
    "#);
}

#[test]
fn environment() {
    let lookup = |name: &str| (name == "SET").then(|| "here".to_owned());
    insta::assert_snapshot!(table(&["A=1", "A=", "A=b=c", "SET", "UNSET", "", "=x", "A B= c"], |text| env::parse_env(text, &lookup)), @r#"
    A=1 → {"name":"A","value":"1"}
    A= → {"name":"A","value":""}
    A=b=c → {"name":"A","value":"b=c"}
    SET → {"name":"SET","value":"here"}
    UNSET → {"name":"UNSET","value":null}
     → Invalid: invalid environment variable:
    =x → Invalid: invalid environment variable: =x
    A B= c → {"name":"A B","value":" c"}
    "#);
    let file = b"\xef\xbb\xbf# comment\n\n  A=1\r\nB=\"x y\" \nSET\nUNSET\n\t#no\nC=a=b\n";
    let vars = env::parse_env_file("f", file, &lookup).unwrap();
    let lines: Vec<_> = vars.iter().filter_map(EnvVar::assignment).collect();
    assert_eq!(lines, ["A=1", "B=\"x y\" ", "SET=here", "C=a=b"]);
    let bad: [&[u8]; 4] = [b"A=1\nB C=2", b"=1", b"A=1\n\xff", b"A=\0"];
    let errors: Vec<_> =
        bad.iter().map(|file| env::parse_env_file("f", file, &none).unwrap_err().to_string()).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    invalid env file (f): variable 'B C' contains whitespaces
    invalid env file (f): no variable name on line '=1'
    invalid env file (f): invalid utf8 bytes at line 2
    invalid env file (f): a zero byte at line 1
    "#);
}

#[test]
fn labels() {
    insta::assert_snapshot!(table(&["a=b", "a", "a=", "a=b=c d", "", "=b", "a b=c", "  a= b"], env::parse_label), @r#"
    a=b → ["a","b"]
    a → ["a",""]
    a= → ["a",""]
    a=b=c d → ["a","b=c d"]
     → Invalid: invalid label '': empty name
    =b → Invalid: invalid label '=b': empty name
    a b=c → Invalid: label 'a b' contains whitespaces
      a= b → ["a"," b"]
    "#);
    let labels = env::parse_label_file("f", b"#x\na=1\nb\na=2\n").unwrap();
    assert_eq!(labels, BTreeMap::from([("a".to_owned(), "2".to_owned()), ("b".to_owned(), String::new())]));
}

#[test]
fn users() {
    let texts = [
        "1",
        "1:",
        ":5",
        "0:0",
        "www-data",
        "www-data:33",
        "1:staff",
        "4294967294",
        "007",
        "",
        ":",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "-1",
        "+1",
        "1:-1",
        "1:2:3",
        "a b",
        "a\nb",
    ];
    insta::assert_snapshot!(table(&texts, user::parse_user), @r#"
    1 → "1"
    1: → "1"
    :5 → ":5"
    0:0 → "0:0"
    www-data → "www-data"
    www-data:33 → "www-data:33"
    1:staff → "1:staff"
    4294967294 → "4294967294"
    007 → "7"
     → Invalid: invalid user '': neither a user nor a group
    : → Invalid: invalid user ':': neither a user nor a group
    4294967295 → Invalid: invalid user '4294967295': uids and gids must be in range 0-4294967294
    4294967296 → Invalid: invalid user '4294967296': uids and gids must be in range 0-4294967294
    99999999999999999999 → Invalid: invalid user '99999999999999999999': uids and gids must be in range 0-4294967294
    -1 → Invalid: invalid user '-1': uids and gids must be in range 0-4294967294
    +1 → Invalid: invalid user '+1': neither an id nor a name
    1:-1 → Invalid: invalid user '-1': uids and gids must be in range 0-4294967294
    1:2:3 → Invalid: invalid user '2:3': neither an id nor a name
    a b → Invalid: invalid user 'a b': neither an id nor a name
    a\nb → Invalid: invalid user 'a\nb': neither an id nor a name
    "#);
    assert!(matches!(user::parse_group("1000"), Ok(IdOrName::Id(1000))));
    assert!(user::parse_group("").is_err());
}

#[test]
fn signals() {
    let texts = [
        "SIGTERM",
        "term",
        "15",
        "SIGRTMIN+3",
        "RTMIN",
        "SIGRTMAX",
        "RTMAX-1",
        "64",
        "IOT",
        "32",
        "0",
        "65",
        "-9",
        "+9",
        "SIG",
        "SIGRTMIN-1",
        "RTMIN+31",
        "RTMIN++1",
        "RTMAX-99999999999",
        "",
        "SIGSHINY",
        "15 ",
    ];
    insta::assert_snapshot!(table(&texts, Signal::parse), @r#"
    SIGTERM → "SIGTERM"
    term → "SIGTERM"
    15 → "SIGTERM"
    SIGRTMIN+3 → "SIGRTMIN+3"
    RTMIN → "SIGRTMIN"
    SIGRTMAX → "SIGRTMIN+30"
    RTMAX-1 → "SIGRTMIN+29"
    64 → "SIGRTMIN+30"
    IOT → "SIGABRT"
    32 → "32"
    0 → Invalid: invalid signal: 0
    65 → Invalid: invalid signal: 65
    -9 → Invalid: invalid signal: -9
    +9 → Invalid: invalid signal: +9
    SIG → Invalid: invalid signal: SIG
    SIGRTMIN-1 → Invalid: invalid signal: SIGRTMIN-1
    RTMIN+31 → Invalid: invalid signal: RTMIN+31
    RTMIN++1 → Invalid: invalid signal: RTMIN++1
    RTMAX-99999999999 → Invalid: invalid signal: RTMAX-99999999999
     → Invalid: invalid signal:
    SIGSHINY → Invalid: invalid signal: SIGSHINY
    15  → Invalid: invalid signal: 15
    "#);
    assert_eq!((Signal::TERM.number(), Signal::KILL.to_string().as_str()), (15, "SIGKILL"));
}

#[test]
fn sizes() {
    let texts = [
        "0", "1024", "64m", "1.5GiB", "512 kb", "1T", "2p", "10B", ".5k", "", "m", "-1", "1e3", "inf", "64mm", "64xb",
        "64kibb", "64bb", "9999999p", "1.2.3", "١", "64 m b",
    ];
    insta::assert_snapshot!(table(&texts, limits::parse_size), @r#"
    0 → 0
    1024 → 1024
    64m → 67108864
    1.5GiB → 1610612736
    512 kb → 524288
    1T → 1099511627776
    2p → 2251799813685248
    10B → 10
    .5k → 512
     → Invalid: invalid size: ''
    m → Invalid: invalid size: 'm'
    -1 → Invalid: invalid size: '-1'
    1e3 → Invalid: invalid size: '1e3'
    inf → Invalid: invalid size: 'inf'
    64mm → Invalid: invalid suffix: 'mm'
    64xb → Invalid: invalid suffix: 'xb'
    64kibb → Invalid: invalid suffix: 'kibb'
    64bb → Invalid: invalid suffix: 'bb'
    9999999p → Invalid: invalid size: '9999999p' is too large
    1.2.3 → Invalid: invalid size: '1.2.3'
    ١ → Invalid: invalid size: '١'
    64 m b → Invalid: invalid size: '64 m b'
    "#);
    assert_eq!(limits::parse_shm_size("0").unwrap(), None);
    assert_eq!(limits::parse_shm_size("1m").unwrap(), Some(1 << 20));
}

#[test]
fn ulimits() {
    let texts = [
        "nofile=1024",
        "nofile=1024:2048",
        "memlock=-1",
        "core=0:-1",
        "nofile",
        "nofile=",
        "nofile=2:1",
        "nofile=-1:5",
        "nofile=1:2:3",
        "shiny=1",
        "as=1",
        "nofile=-2",
        "nofile=+1",
        "nofile=x",
    ];
    insta::assert_snapshot!(table(&texts, limits::parse_ulimit), @r#"
    nofile=1024 → {"resource":"RLIMIT_NOFILE","soft":1024,"hard":1024}
    nofile=1024:2048 → {"resource":"RLIMIT_NOFILE","soft":1024,"hard":2048}
    memlock=-1 → {"resource":"RLIMIT_MEMLOCK","soft":18446744073709551615,"hard":18446744073709551615}
    core=0:-1 → {"resource":"RLIMIT_CORE","soft":0,"hard":18446744073709551615}
    nofile → Invalid: invalid ulimit argument: nofile
    nofile= → Invalid: invalid ulimit argument: nofile=
    nofile=2:1 → Invalid: ulimit soft limit must be less than or equal to hard limit: soft: 2, hard: 1
    nofile=-1:5 → Invalid: ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5
    nofile=1:2:3 → Invalid: too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`
    shiny=1 → Invalid: invalid ulimit type: shiny
    as=1 → Invalid: invalid ulimit type: as
    nofile=-2 → Invalid: invalid ulimit argument: nofile=-2
    nofile=+1 → Invalid: invalid ulimit argument: nofile=+1
    nofile=x → Invalid: invalid ulimit argument: nofile=x
    "#);
    let mut set = vec![limits::parse_ulimit("nofile=1").unwrap(), limits::parse_ulimit("core=2").unwrap()];
    limits::set_ulimit(&mut set, limits::parse_ulimit("nofile=3").unwrap());
    assert_eq!(set.iter().map(|limit| (limit.name(), limit.hard)).collect::<Vec<_>>(), [("nofile", 3), ("core", 2)]);
}

#[test]
fn limits_that_need_a_cgroup_are_taken_only_where_they_mean_none() {
    insta::assert_snapshot!(table(&["0", "-1", "0b", "512m", "x", "-2"], limits::parse_memory), @r#"
    0 → null
    -1 → null
    0b → null
    512m → Unsupported: --memory 512m cannot be enforced: this version of lrun does not set cgroup limits
    x → Invalid: invalid size: 'x'
    -2 → Invalid: invalid size: '-2'
    "#);
    insta::assert_snapshot!(table(&["0", "-1", "-5", "100", "x", ""], limits::parse_pids_limit), @r#"
    0 → null
    -1 → null
    -5 → null
    100 → Unsupported: --pids-limit 100 cannot be enforced: this version of lrun does not set cgroup limits
    x → Invalid: 'x' is not a whole number
     → Invalid: '' is not a whole number
    "#);
    insta::assert_snapshot!(table(&["0", "0.0", "1.5", "-1", "x", "nan"], limits::parse_cpus), @r#"
    0 → null
    0.0 → null
    1.5 → Unsupported: --cpus 1.5 cannot be enforced: this version of lrun does not set cgroup limits
    -1 → Invalid: failed to parse -1 as a rational number
    x → Invalid: failed to parse x as a rational number
    nan → Invalid: failed to parse nan as a rational number
    "#);
}

#[test]
fn log_options() {
    let set = |texts: &[&str]| {
        let mut log = LogOptions::default();
        texts.iter().try_for_each(|text| log.set(text)).map(|()| (log.max_size, log.max_files))
    };
    assert_eq!(set(&[]).unwrap(), (Some(32 << 20), 5));
    assert_eq!(set(&["max-size=10m", "max-file=3"]).unwrap(), (Some(10 << 20), 3));
    assert_eq!(set(&["max-size=-1"]).unwrap(), (None, 5));
    for bad in ["max-size=0", "max-size=x", "max-file=0", "max-file=-1", "labels=x", "max-size"] {
        assert_eq!(set(&[bad]).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[test]
fn networks() {
    let texts = ["default", "pasta", "bridge", "host", "none", "container:web", "container:", "mynet", ""];
    insta::assert_snapshot!(table(&texts, network::parse_network), @r#"
    default → "default"
    pasta → "pasta"
    bridge → "pasta"
    host → "host"
    none → "none"
    container:web → {"container":"web"}
    container: → Invalid: invalid container format container:<name|id>
    mynet → Unsupported: network mynet not found: this version of lrun has no networks of the user's
     → Unsupported: network  not found: this version of lrun has no networks of the user's
    "#);
    let hosts = [
        "db:10.0.0.1",
        "db=10.0.0.1",
        "db:::1",
        "db=[::1]",
        "db:[fe80::1]",
        "db",
        "db:",
        ":1.2.3.4",
        "a b:1.2.3.4",
        "db:300.1.1.1",
        "db:host-gateway",
        "a:b=1.2.3.4",
        "a\n:1.2.3.4",
    ];
    insta::assert_snapshot!(table(&hosts, network::parse_add_host), @r#"
    db:10.0.0.1 → {"name":"db","address":"10.0.0.1"}
    db=10.0.0.1 → {"name":"db","address":"10.0.0.1"}
    db:::1 → {"name":"db","address":"::1"}
    db=[::1] → {"name":"db","address":"::1"}
    db:[fe80::1] → {"name":"db","address":"fe80::1"}
    db → Invalid: bad format for add-host: "db"
    db: → Invalid: invalid IP address in add-host: ""
    :1.2.3.4 → Invalid: bad format for add-host: ":1.2.3.4"
    a b:1.2.3.4 → Invalid: bad format for add-host: "a b:1.2.3.4"
    db:300.1.1.1 → Invalid: invalid IP address in add-host: "300.1.1.1"
    db:host-gateway → Unsupported: host-gateway: a container cannot reach its host through the private network
    a:b=1.2.3.4 → Invalid: bad format for add-host: "a:b=1.2.3.4"
    a\n:1.2.3.4 → Invalid: bad format for add-host: "a\n:1.2.3.4"
    "#);
    insta::assert_snapshot!(table(&["8.8.8.8", " ::1 ", "dns", ""], network::parse_dns_server), @r#"
    8.8.8.8 → "8.8.8.8"
     ::1  → "::1"
    dns → Invalid: IP address is not correctly formatted: dns
     → Invalid: IP address is not correctly formatted:
    "#);
    insta::assert_snapshot!(table(&[".", "example.org", "a.b.", "a_b", "", "a..b", "a b", "x\ny", "17", "a-.b", "1.b"], network::parse_dns_search), @r#"
    . → "."
    example.org → "example.org"
    a.b. → "a.b."
    a_b → "a_b"
     → Invalid:  is not a valid domain
    a..b → Invalid: a..b is not a valid domain
    a b → Invalid: a b is not a valid domain
    x\ny → Invalid: x\ny is not a valid domain
    17 → Invalid: 17 is not a valid domain
    a-.b → Invalid: a-.b is not a valid domain
    1.b → "1.b"
    "#);
    insta::assert_snapshot!(table(&["ndots:2", "", "a b", "a\nb"], network::parse_dns_option), @r#"
    ndots:2 → "ndots:2"
     → Invalid: '' is not an option of resolv.conf
    a b → Invalid: 'a b' is not an option of resolv.conf
    a\nb → Invalid: 'a\nb' is not an option of resolv.conf
    "#);
    insta::assert_snapshot!(table(&["box", "a.b-c", "A_1", "", "-a", "a-", "a..b", "a b", ".a", "a\n"], network::parse_hostname), @r#"
    box → "box"
    a.b-c → "a.b-c"
    A_1 → "A_1"
     → Invalid: invalid hostname format:
    -a → Invalid: invalid hostname format: -a
    a- → Invalid: invalid hostname format: a-
    a..b → Invalid: invalid hostname format: a..b
    a b → Invalid: invalid hostname format: a b
    .a → Invalid: invalid hostname format: .a
    a\n → Invalid: invalid hostname format: a\n
    "#);
    assert!(network::parse_hostname(&"a".repeat(64)).is_ok() && network::parse_hostname(&"a".repeat(65)).is_err());
}

#[test]
fn capabilities_by_name() {
    let texts = ["net_admin", "CAP_SYS_ADMIN", "Cap_Kill", "all", "CAP_ALL", "shiny", "", "CAP_", "CAP_CAP_KILL"];
    insta::assert_snapshot!(table(&texts, security::parse_capability), @r#"
    net_admin → "CAP_NET_ADMIN"
    CAP_SYS_ADMIN → "CAP_SYS_ADMIN"
    Cap_Kill → "CAP_KILL"
    all → "ALL"
    CAP_ALL → "ALL"
    shiny → Invalid: unknown capability: "CAP_SHINY"
     → Invalid: unknown capability: "CAP_"
    CAP_ → Invalid: unknown capability: "CAP_"
    CAP_CAP_KILL → Invalid: unknown capability: "CAP_CAP_KILL"
    "#);
}

#[test]
fn security_options() {
    let read = |path: &str| match path {
        "p.json" => Ok("{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }".to_owned()),
        "list.json" => Ok("[]".to_owned()),
        "bad.json" => Ok("{".to_owned()),
        _ => Err(Error::new(ErrorKind::NotFound, "no such file")),
    };
    let texts = [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges=false",
        "no-new-privileges=maybe",
        "seccomp=unconfined",
        "seccomp:unconfined",
        "seccomp=builtin",
        "seccomp=p.json",
        "seccomp=list.json",
        "seccomp=bad.json",
        "seccomp=gone",
        "seccomp=",
        "apparmor=unconfined",
        "apparmor=mine",
        "label=disable",
        "label:disable",
        "label=type:x",
        "systempaths=unconfined",
        "systempaths=x",
        "shiny=1",
        "shiny",
        "",
    ];
    let set = |text: &str| {
        let mut security = Security::default();
        security.set(text, &read).map(|()| security)
    };
    insta::assert_snapshot!(table(&texts, set), @r#"
    no-new-privileges → {"no_new_privileges":true,"seccomp":"default","unconfined_paths":false}
    no-new-privileges:true → {"no_new_privileges":true,"seccomp":"default","unconfined_paths":false}
    no-new-privileges=false → {"no_new_privileges":false,"seccomp":"default","unconfined_paths":false}
    no-new-privileges=maybe → Invalid: invalid --security-opt: "no-new-privileges=maybe"
    seccomp=unconfined → {"no_new_privileges":false,"seccomp":"unconfined","unconfined_paths":false}
    seccomp:unconfined → {"no_new_privileges":false,"seccomp":"unconfined","unconfined_paths":false}
    seccomp=builtin → {"no_new_privileges":false,"seccomp":"default","unconfined_paths":false}
    seccomp=p.json → {"no_new_privileges":false,"seccomp":{"profile":"{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"},"unconfined_paths":false}
    seccomp=list.json → Invalid: seccomp profile (list.json) is not a JSON object
    seccomp=bad.json → Invalid: seccomp profile (bad.json) is not JSON: EOF while parsing an object at line 1 column 1
    seccomp=gone → NotFound: no such file
    seccomp= → Invalid: invalid --security-opt: "seccomp="
    apparmor=unconfined → {"no_new_privileges":false,"seccomp":"default","unconfined_paths":false}
    apparmor=mine → Unsupported: --security-opt apparmor=mine: lrun applies no AppArmor profiles
    label=disable → {"no_new_privileges":false,"seccomp":"default","unconfined_paths":false}
    label:disable → {"no_new_privileges":false,"seccomp":"default","unconfined_paths":false}
    label=type:x → Unsupported: --security-opt label=type:x: lrun sets no SELinux labels
    systempaths=unconfined → {"no_new_privileges":false,"seccomp":"default","unconfined_paths":true}
    systempaths=x → Invalid: invalid --security-opt: "systempaths=x"
    shiny=1 → Invalid: invalid --security-opt: "shiny=1"
    shiny → Invalid: invalid --security-opt: "shiny"
     → Invalid: invalid --security-opt: ""
    "#);
}

#[test]
fn devices() {
    let texts = [
        "/dev/fuse",
        "/dev/fuse:/dev/f",
        "/dev/fuse:rwm",
        "/dev/fuse:/dev/f:mrw",
        "/dev/fuse:rw",
        "/dev/fuse:r",
        "/dev/fuse:/dev/f:m",
        "/dev/fuse:/dev/f:rr",
        "/dev/fuse:f",
        "fuse",
        "",
        "/a:/b:rwm:x",
        "/dev/fuse:/proc/x",
    ];
    insta::assert_snapshot!(table(&texts, security::parse_device), @r#"
    /dev/fuse → {"source":"/dev/fuse","target":"/dev/fuse"}
    /dev/fuse:/dev/f → {"source":"/dev/fuse","target":"/dev/f"}
    /dev/fuse:rwm → {"source":"/dev/fuse","target":"/dev/fuse"}
    /dev/fuse:/dev/f:mrw → {"source":"/dev/fuse","target":"/dev/f"}
    /dev/fuse:rw → {"source":"/dev/fuse","target":"/dev/fuse"}
    /dev/fuse:r → Unsupported: --device /dev/fuse:r: a device cannot be given for less than reading and writing
    /dev/fuse:/dev/f:m → Unsupported: --device /dev/fuse:/dev/f:m: a device cannot be given for less than reading and writing
    /dev/fuse:/dev/f:rr → Invalid: bad mode specified: rr
    /dev/fuse:f → Invalid: invalid mount path: 'f' mount path must be absolute
    fuse → Invalid: fuse is not an absolute path
     → Invalid:  is not an absolute path
    /a:/b:rwm:x → Invalid: invalid device specification: /a:/b:rwm:x
    /dev/fuse:/proc/x → Invalid: invalid mount path: '/proc/x' cannot be mounted because it is inside /proc
    "#);
}

#[test]
fn sysctls_of_the_containers_namespaces_only() {
    let texts = [
        "net.core.somaxconn=1024",
        "net.ipv4.tcp_rmem=4096 1 2",
        "kernel.shmmax=1",
        "fs.mqueue.msg_max=5",
        "kernel.core_pattern=|/x",
        "kernel.hostname=x",
        "net/../kernel.core_pattern=x",
        "net.../../kernel=x",
        "net..x=1",
        "a+b=c",
        "net.x",
        "vm.swappiness=1",
        "net.x=1\n2",
        "=1",
        "fs.mqueue.=1",
    ];
    insta::assert_snapshot!(table(&texts, security::parse_sysctl), @r#"
    net.core.somaxconn=1024 → ["net.core.somaxconn","1024"]
    net.ipv4.tcp_rmem=4096 1 2 → ["net.ipv4.tcp_rmem","4096 1 2"]
    kernel.shmmax=1 → ["kernel.shmmax","1"]
    fs.mqueue.msg_max=5 → ["fs.mqueue.msg_max","5"]
    kernel.core_pattern=|/x → Invalid: sysctl 'kernel.core_pattern=|/x' is not allowed
    kernel.hostname=x → Invalid: sysctl 'kernel.hostname=x' is not allowed
    net/../kernel.core_pattern=x → Invalid: sysctl 'net/../kernel.core_pattern=x' is not allowed
    net.../../kernel=x → Invalid: sysctl 'net.../../kernel=x' is not allowed
    net..x=1 → Invalid: sysctl 'net..x=1' is not allowed
    a+b=c → Invalid: sysctl 'a+b=c' is not allowed
    net.x → Invalid: invalid sysctl: 'net.x'
    vm.swappiness=1 → Invalid: sysctl 'vm.swappiness=1' is not allowed
    net.x=1\n2 → Invalid: sysctl 'net.x=1\n2' is not allowed
    =1 → Invalid: sysctl '=1' is not allowed
    fs.mqueue.=1 → Invalid: sysctl 'fs.mqueue.=1' is not allowed
    "#);
}

#[test]
fn directories() {
    insta::assert_snapshot!(table(&["/", "/a/../b/", "a", "", "/a\0b"], parse_workdir), @r#"
    / → "/"
    /a/../b/ → "/b"
    a → Invalid: the working directory 'a' is invalid, it needs to be an absolute path
     → Invalid: the working directory '' is invalid, it needs to be an absolute path
    /a\0b → Invalid: the working directory '/a\0b' is invalid, it needs to be an absolute path
    "#);
}

#[test]
fn contradictions_are_refused() {
    let check = |change: &dyn Fn(&mut RunOptions)| {
        let mut options = RunOptions::default();
        change(&mut options);
        options.check().map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    };
    let bind = |text: &str| mounts::parse_volume(text, Path::new("/")).unwrap();
    let web = || Network::Container("web".to_owned());
    let sysctl = || BTreeMap::from([security::parse_sysctl("net.core.somaxconn=1").unwrap()]);
    assert_eq!(check(&|o| o.mounts = vec![bind("/a:/x"), bind("/a:/y")]), "fine");
    assert_eq!(
        check(&|o| o.mounts = vec![bind("/a:/x"), mounts::parse_tmpfs("/x/").unwrap()]),
        "Duplicate mount point: /x"
    );
    let doubled = check(&|o| {
        o.mounts = vec![bind("/a:/dev/fuse")];
        o.devices = vec![security::parse_device("/dev/fuse").unwrap()];
    });
    assert_eq!(doubled, "Duplicate mount point: /dev/fuse");
    assert_eq!(check(&|o| o.network = web()), "fine");
    let conflict = |what: &str| format!("conflicting options: {what} and the network mode");
    assert_eq!(check(&|o| (o.network, o.hostname) = (web(), Some("x".into()))), conflict("hostname"));
    assert_eq!(check(&|o| (o.network, o.dns.options) = (web(), vec!["x".into()])), conflict("dns"));
    let hosts = || vec![network::parse_add_host("a:::1").unwrap()];
    assert_eq!(check(&|o| (o.network, o.add_hosts) = (web(), hosts())), conflict("custom host-to-IP mapping"));
    assert_eq!(check(&|o| o.sysctls = sysctl()), "fine");
    assert!(check(&|o| (o.network, o.sysctls) = (Network::Host, sysctl())).contains("no network namespace of its own"));
}

#[test]
fn options_survive_json() {
    let mut options = RunOptions {
        user: Some(user::parse_user("33:staff").unwrap()),
        groups: vec![user::parse_group("7").unwrap(), user::parse_group("audio").unwrap()],
        mounts: vec![mounts::parse_volume("/a:/b:ro", Path::new("/")).unwrap(), mounts::parse_tmpfs("/t").unwrap()],
        network: Network::Container("x".into()),
        ulimits: vec![limits::parse_ulimit("memlock=-1").unwrap()],
        stop_signal: Some(StopSignal::parse("RTMIN+3").unwrap()),
        add_hosts: vec![network::parse_add_host("a:::1").unwrap()],
        ..RunOptions::default()
    };
    options.security.seccomp = SeccompChoice::Profile("{}".into());
    let text = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<RunOptions>(&text).unwrap(), options);
    assert_eq!(serde_json::from_str::<RunOptions>("{}").unwrap(), RunOptions::default());
}

/// Texts built of what the grammars are made of, and of anything.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(":"),
        Just("="),
        Just(","),
        Just("/"),
        Just("."),
        Just(".."),
        Just("\""),
        Just("-1"),
        Just("ro"),
        Just("type=bind"),
        Just("src=/a"),
        Just("dst=/b"),
        Just("64m"),
        Just("nofile"),
        Just("max-size"),
        Just("net."),
        Just("SIGRTMIN+"),
        Just("/proc"),
        Just("\0"),
        Just("\n"),
        Just(" "),
        Just("é"),
    ];
    prop_oneof![any::<String>(), prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())]
}

proptest! {
    #[test]
    fn no_parser_panics(text in any_text()) {
        let cwd = Path::new("/home/u");
        let _ = (mounts::parse_volume(&text, cwd), mounts::parse_mount(&text, cwd), mounts::parse_tmpfs(&text));
        let _ = (env::parse_env(&text, &none), env::parse_label(&text), user::parse_user(&text), user::parse_group(&text));
        let _ = (limits::parse_size(&text), limits::parse_ulimit(&text), limits::parse_memory(&text));
        let _ = (limits::parse_pids_limit(&text), limits::parse_cpus(&text), LogOptions::default().set(&text));
        let _ = (network::parse_network(&text), network::parse_add_host(&text), network::parse_dns_server(&text));
        let _ = (network::parse_dns_search(&text), network::parse_dns_option(&text), network::parse_hostname(&text));
        let _ = (security::parse_capability(&text), security::parse_device(&text), security::parse_sysctl(&text));
        let _ = (Security::default().set(&text, &|_| Ok(text.clone())), Signal::parse(&text), parse_workdir(&text));
    }

    #[test]
    fn no_file_panics(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (env::parse_env_file("f", &content, &none), env::parse_label_file("f", &content));
    }

    #[test]
    fn targets_are_clean_and_never_in_proc(text in any_text()) {
        let target = match mounts::parse_volume(&format!("/a:{text}"), Path::new("/")) {
            Ok(mount) => mount.target().to_owned(),
            Err(_) => return Ok(()),
        };
        prop_assert_eq!(mounts::clean_absolute(&target), Some(target.clone()));
        prop_assert!(target != "/" && !target.contains("/../") && !target.contains('\0') && !target.starts_with("/proc/sys"));
    }

    #[test]
    fn what_was_parsed_is_shown_so_that_it_parses_to_the_same(text in any_text()) {
        if let Ok(user) = user::parse_user(&text) {
            prop_assert_eq!(user::parse_user(&user.to_string()).unwrap(), user);
        }
        if let Ok(signal) = Signal::parse(&text) {
            prop_assert_eq!(Signal::parse(&signal.to_string()).unwrap(), signal);
        }
    }

    #[test]
    fn sizes_are_what_they_say(number in 0u64..1 << 30, unit in 0usize..5) {
        let (letter, power) = [("", 0), ("k", 1), ("MB", 2), ("GiB", 3), ("b", 0)][unit];
        prop_assert_eq!(limits::parse_size(&format!("{number}{letter}")).unwrap(), number << (10 * power));
    }
}

#[test]
fn a_record_has_what_differs_from_the_defaults_and_gives_it_all_back() {
    assert_eq!(RunOptions::default().to_record().unwrap(), serde_json::json!({}));
    let options = RunOptions { tty: true, image: "a".into(), network: Network::None, ..RunOptions::default() };
    let record = options.to_record().unwrap();
    assert_eq!(record, serde_json::json!({"image": "a", "network": "none", "tty": true}));
    assert_eq!(serde_json::from_value::<RunOptions>(record).unwrap(), options);
}
