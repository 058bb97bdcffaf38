"""Power cuts, simulated: power_cuts.py LRUN USER FOLDER IMAGES FSTYPE CUTS SEED

Run as root in mount and PID namespaces of its own. A store lies on a file system in an image file, and at the moment of the cut
that file system is shut down (FS_IOC_SHUTDOWN): what has not been written is lost, as in a power cut; then it is mounted again,
and what lrun had acknowledged must be there. btrfs has no such call: its image file lies on an xfs, where a clone of it
(FICLONE) is the disk as it was at one moment, and the clone is what is mounted again. Prints one line a cut and
`cuts N lost M`; exits with 3 where this kernel can do neither.
"""
import fcntl, gzip, hashlib, http.server, json, os, platform, pwd, random, shutil, signal, struct, subprocess, sys, threading, time

LRUN, USER, FOLDER, IMAGES, FSTYPE = sys.argv[1:6]
CUTS, SEED = int(sys.argv[6]), int(sys.argv[7])
SHUTDOWN = 0x8004587D
CLONE = 0x40049409
# Default: freezes first, which writes everything; with the journal; without.
FLUSH, WITH_LOG, WITHOUT_LOG = 0, 1, 2
CLONED = 3
WAYS = ["flush", "with log", "without log", "cloned"]
BELOW = f"{FOLDER}/below" if FSTYPE == "btrfs" else FOLDER
DISK, BASE, PLACE = f"{BELOW}/disk", f"{BELOW}/base", f"{FOLDER}/mounted"
STORE, HOME = f"{PLACE}/store", f"{PLACE}/home"
account = pwd.getpwnam(USER)


class Registry(http.server.BaseHTTPRequestHandler):
    """Has one image, `pulled`, of busybox."""
    protocol_version = "HTTP/1.1"
    content = {}

    @classmethod
    def start(cls):
        with open(f"{IMAGES}/busybox.tar", "rb") as file:
            tar = file.read()
        layer = gzip.compress(tar, 1)
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        config = json.dumps({"os": "linux", "architecture": machine, "config": {"Cmd": ["true"]},
                             "rootfs": {"type": "layers", "diff_ids": [cls.digest(tar)]}}).encode()
        oci = "application/vnd.oci.image"

        def descriptor(kind, data):
            cls.content[cls.digest(data)] = (f"{oci}.{kind}", data)
            return {"mediaType": f"{oci}.{kind}", "digest": cls.digest(data), "size": len(data)}

        manifest = json.dumps({"schemaVersion": 2, "mediaType": f"{oci}.manifest.v1+json",
                               "config": descriptor("config.v1+json", config),
                               "layers": [descriptor("layer.v1.tar+gzip", layer)]}).encode()
        descriptor("manifest.v1+json", manifest)
        cls.content["latest"] = cls.content[cls.digest(manifest)]
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), cls)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    @staticmethod
    def digest(data):
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def do_GET(self):
        kind, data = ("application/json", b"{}") if self.path == "/v2/" else self.content[self.path.rsplit("/", 1)[1]]
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": len(data),
                            "Docker-Content-Digest": self.digest(data)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


REGISTRY = Registry.start()


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def start(*args, **more):
    env = {"HOME": HOME, "USER": USER, "PATH": os.environ["PATH"], "LRUN_ROOT": STORE}
    return subprocess.Popen([LRUN, *args], user=account.pw_uid, group=account.pw_gid, extra_groups=[], env=env, cwd="/",
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def lrun(*args, code=0):
    command = start(*args)
    out, err = command.communicate(timeout=120)
    if command.returncode != code:
        raise AssertionError(f"{args}: code {command.returncode}, not {code}: {err}")
    return out.strip()


def mount():
    os.makedirs(PLACE, exist_ok=True)
    # What is written stays in memory for as long as nobody asks for it.
    late = "-o commit=600" if FSTYPE in ("ext4", "btrfs") else ""
    sh(f"mount -o loop -t {FSTYPE} {late} {DISK} {PLACE}")


def cut(how):
    try:
        if how == CLONED:
            with open(DISK, "rb") as disk, open(f"{DISK}.cut", "wb") as clone:
                fcntl.ioctl(clone, CLONE, disk.fileno())
            return
        fd = os.open(PLACE, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(fd)
    except OSError as error:
        print(f"{FSTYPE}: {error}")
        sys.exit(3)


def end_all():
    """Nothing survives a power cut: everything else in this PID namespace ends."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def again():
    end_all()
    for _ in range(100):
        if subprocess.run(["umount", PLACE], stderr=subprocess.DEVNULL).returncode == 0:
            break
        time.sleep(0.05)
    if os.path.exists(f"{DISK}.cut"):
        os.rename(f"{DISK}.cut", DISK)
    mount()


def mount_below():
    """What image files can be cloned on."""
    sh(f"truncate -s 2G {FOLDER}/xfs")
    sh(f"mkfs.xfs -q -m reflink=1 {FOLDER}/xfs")
    os.makedirs(BELOW)
    sh(f"mount -o loop -t xfs {FOLDER}/xfs {BELOW}")


def prepare():
    """A store with an image and a container that has ended, on disk."""
    if not os.path.exists(BASE):
        if BELOW != FOLDER:
            mount_below()
        sh(f"truncate -s 400M {DISK}")
        quiet = {"ext4": "-q -F", "xfs": "-q -f", "btrfs": "-q -f"}[FSTYPE]
        sh(f"mkfs.{FSTYPE} {quiet} {DISK}")
        mount()
        os.makedirs(HOME)
        for path in (PLACE, HOME):
            os.chown(path, account.pw_uid, account.pw_gid)
        os.makedirs(f"{HOME}/context/d")
        for number in range(100):
            with open(f"{HOME}/context/d/{number}", "w") as file:
                file.write(f"{number}{number}{number}\n")
        with open(f"{HOME}/context/Dockerfile", "w") as file:
            file.write("FROM busybox\nCOPY d /opt/\nENV A=1\nRUN " + FILES.format(2) + "\nWORKDIR /w\n")
        lrun("import", f"{IMAGES}/busybox.tar", "busybox")
        lrun("run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo old >/opt/old")
        lrun("tag", "busybox", "second")
        lrun("run", "--name", "other", "--network", "none", "busybox", "sh", "-c", FILES.format(2))
        lrun("commit", "other", "loaded")
        lrun("save", "-o", f"{HOME}/saved.tar", "loaded")
        lrun("rm", "--no-trash", "other")
        lrun("rmi", "loaded")
        os.makedirs(f"{HOME}/.config/lrun")
        with open(f"{HOME}/.config/lrun/config.toml", "w") as file:
            file.write(f'[registries]\ninsecure = ["{REGISTRY}"]\n')
        sh(f"umount {PLACE}")
        sh(f"cp --sparse=always {DISK} {BASE}")
    else:
        sh(f"cp --sparse=always {BASE} {DISK}")
    mount()


FILES = "i=0; while [ $i -lt {}00 ]; do echo $i$i$i >/opt/$i; i=$((i+1)); done"
COUNT = "cat /opt/[0-9]* | md5sum; ls /opt | wc -l"


def names(kind):
    return set(lrun(*{"images": ("images", "--format", "{{.Repository}}"),
                      "containers": ("ps", "-a", "--format", "{{.Names}}")}[kind]).split())


def content(image):
    return lrun("run", "--rm", "--network", "none", image, "sh", "-c", COUNT)


class Case:
    """An operation, about how many seconds it takes, what it acknowledges, and what is true if it did not come to that."""

    def __init__(self, name, *steps, takes, done, whole=lambda: None):
        self.name, self.steps, self.takes, self.done, self.whole = name, steps, takes, done, whole


def expect(value, wanted):
    if value != wanted:
        raise AssertionError(f"{value!r}, not {wanted!r}")


def imported():
    expect("imported" in names("images"), True)


def either(name, kind, check):
    """What is half there is neither."""
    if name in names(kind):
        check()


def files_are(image, number):
    def check():
        text = "".join(f"{i}{i}{i}\n" for i in sorted(range(number), key=str))
        digest, count = content(image).split("  -\n")
        expect(digest, hashlib.md5(text.encode()).hexdigest())
        expect(int(count), number)
    return check


def container_has(number):
    lrun("commit", "new", "of_new")
    files_are("of_new", number)()


def ended():
    expect(lrun("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "new"), "exited 7")
    container_has(200)


def built():
    files_are("built", 200)()
    expect(lrun("inspect", "-f", "{{.Config.WorkingDir}}", "built"), "/w")
    expect("A=1" in lrun("inspect", "-f", "{{.Config.Env}}", "built"), True)


def committed():
    expect(content("committed").split("\n")[1], "1")


PULLED = f"{REGISTRY}/pulled"

CASES = [
    Case("import", ["import", f"{IMAGES}/busybox.tar", "imported"], takes=0.15, done=imported,
         whole=lambda: either("imported", "images", lambda: lrun("run", "--rm", "--network", "none", "imported", "true"))),
    Case("create", ["create", "--name", "new", "--network", "none", "busybox", "true"],
         takes=0.04, done=lambda: expect("new" in names("containers"), True),
         whole=lambda: either("new", "containers", lambda: lrun("start", "-a", "new"))),
    Case("run", ["run", "--name", "new", "--network", "none", "busybox", "sh", "-c", FILES.format(2) + "; exit 7"], takes=0.2, done=ended,
         whole=lambda: either("new", "containers", lambda: lrun("diff", "new"))),
    Case("commit", ["commit", "box", "committed"], takes=0.08, done=committed,
         whole=lambda: either("committed", "images", committed)),
    Case("commit of many files", ["run", "--name", "new", "--network", "none", "busybox", "sh", "-c", FILES.format(10)],
         ["commit", "new", "many"], takes=0.25, done=files_are("many", 1000),
         whole=lambda: either("many", "images", files_are("many", 1000))),
    Case("build", ["build", "-q", "--network", "none", "-t", "built", f"{HOME}/context"], takes=0.6, done=built,
         whole=lambda: (either("built", "images", built), lrun("build", "-q", "--network", "none", "-t", "built", f"{HOME}/context"),
                        built())),
    Case("load", ["load", "-q", "-i", f"{HOME}/saved.tar"], takes=0.15, done=files_are("loaded", 200),
         whole=lambda: either("loaded", "images", files_are("loaded", 200))),
    Case("pull", ["pull", "-q", PULLED], takes=0.15, done=lambda: lrun("run", "--rm", "--network", "none", PULLED, "true"),
         whole=lambda: either(PULLED, "images", lambda: lrun("run", "--rm", "--network", "none", PULLED, "true"))),
    Case("tag", ["tag", "busybox", "third"], takes=0.04, done=lambda: expect("third" in names("images"), True)),
    Case("rename", ["rename", "box", "renamed"], takes=0.04, done=lambda: expect(names("containers"), {"renamed"}),
         whole=lambda: expect(len(names("containers")), 1)),
    Case("rm", ["rm", "box"], takes=0.04, done=lambda: expect(names("containers"), set())),
    Case("rmi", ["rmi", "second"], takes=0.04, done=lambda: expect("second" in names("images"), False)),
]


def sound():
    """Old or new, never half: every list works, every image runs, what was there before is there."""
    names("containers")
    # One that was not acknowledged may have no name yet.
    for image in set(lrun("images", "-q").split()):
        lrun("run", "--rm", "--network", "none", image, "true")
    expect("busybox" in names("images"), True)
    # What --rm leaves is deleted when the client has been told.
    for _ in range(100):
        left = os.listdir(f"{STORE}/staging")
        if not left:
            break
        time.sleep(0.05)
    expect(left, [])


def one(number, chance):
    case = CASES[number % len(CASES)]
    prepare()
    *before, last = case.steps
    for step in before:
        lrun(*step)
    how = chance.choice([WITHOUT_LOG, WITHOUT_LOG, WITH_LOG, FLUSH] if BELOW == FOLDER else [CLONED])
    acknowledged = number // len(CASES) % 2 == 0
    if acknowledged:
        code = 7 if case.name == "run" else 0
        lrun(*last, code=code)
        moment = "acknowledged"
    else:
        moment = chance.uniform(0, case.takes)
        command = start(*last)
        time.sleep(moment)
        # What it said before the cut counts as acknowledged; the cut may come between its last step and its end.
        finished = command.poll()
        acknowledged = finished in (0, 7)
        moment = f"after {moment * 1000:.0f} ms" + (", acknowledged" if acknowledged else "")
    cut(how)
    again()
    try:
        if acknowledged:
            case.done()
        else:
            case.whole()
        sound()
        verdict = "kept"
    except (AssertionError, subprocess.TimeoutExpired) as error:
        verdict = f"LOST: {error}"
    print(f"{FSTYPE} {case.name}, {moment}, {WAYS[how]}: {verdict}", flush=True)
    end_all()
    sh(f"umount {PLACE}")
    return verdict == "kept"


def a_cut_loses_what_nobody_flushed():
    prepare()
    with open(f"{PLACE}/unflushed", "w") as file:
        file.write("text")
    cut(WITHOUT_LOG if BELOW == FOLDER else CLONED)
    again()
    expect(os.path.exists(f"{PLACE}/unflushed") and os.path.getsize(f"{PLACE}/unflushed") > 0, False)
    sh(f"umount {PLACE}")


def main():
    a_cut_loses_what_nobody_flushed()
    chance = random.Random(SEED)
    lost = sum(not one(number, chance) for number in range(CUTS))
    print(f"cuts {CUTS} lost {lost}")
    if BELOW != FOLDER:
        sh(f"umount {BELOW}")
    shutil.rmtree(FOLDER, ignore_errors=True)


main()
