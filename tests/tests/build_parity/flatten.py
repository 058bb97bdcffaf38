"""Prints what an image archive (docker's format) comes to, line by line: its files, layers applied, and its config.

For tests: programs write archives and configs differently that mean the same.
"""
import hashlib
import io
import json
import sys
import tarfile

KINDS = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo",
         tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}


def remove(tree, path, itself=True):
    for other in [p for p in tree if p.startswith(path + "/") or itself and p == path]:
        del tree[other]


def named(path):
    path = path.strip("/").removeprefix("./")
    return "/" + ("" if path == "." else path)


def apply(tree, layer):
    own = set()
    for member in layer:
        path = named(member.name)
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            for other in [p for p in tree if p.startswith(parent + "/") and p not in own]:
                del tree[other]
            continue
        if name.startswith(".wh."):
            remove(tree, parent + "/" + name[4:])
            continue
        if not member.isdir():
            remove(tree, path)
        xattrs = sorted((key[13:], value) for key, value in member.pax_headers.items()
                        if key.startswith("SCHILY.xattr."))
        if member.islnk():
            tree[path] = ("same as", named(member.linkname))
        else:
            content = layer.extractfile(member).read() if member.isfile() else b""
            link = " -> " + member.linkname if member.issym() else ""
            tree[path] = (KINDS.get(member.type, "file"), member.mode, member.uid, member.gid, link, content, xattrs)
        own.add(path)


def shown(path, entry):
    if entry[0] == "same as":
        return f"{path} same as {entry[1]}"
    kind, mode, uid, gid, link, content, xattrs = entry
    text = ""
    if kind == "file":
        small = len(content) <= 60 and content.isascii()
        text = " " + (json.dumps(content.decode()) if small else "sha256:" + hashlib.sha256(content).hexdigest())
    # A link has no mode.
    mode = "" if kind == "link" else f" {mode & 0o7777:o}"
    attributes = "".join(f" {key}={value!r}" for key, value in xattrs)
    return f"{json.dumps(path)[1:-1]} {kind}{mode} {uid}:{gid}{link}{text}{attributes}"


def created_by(text):
    """The words in which podman, docker's first builder and BuildKit agree: of RUN all, of others the name."""
    text = text.removeprefix("/bin/sh -c #(nop)").strip().removesuffix(" # buildkit")
    word = text.split(" ", 1)[0]
    if word.isupper() and word != "RUN":
        return word
    return "RUN " + text.removeprefix("RUN ")


def short(text):
    return text if len(text) <= 200 else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def plain(value):
    """Without what says nothing."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner not in (None, "", [], {}, False, 0)}
    return value


def main():
    archive = tarfile.open(sys.argv[1])
    manifest = json.load(archive.extractfile("manifest.json"))[0]
    config = json.load(archive.extractfile(manifest["Config"]))
    tree = {"/": ("dir", 0o755, 0, 0, "", b"", [])}
    for layer in manifest["Layers"]:
        apply(tree, tarfile.open(fileobj=io.BytesIO(archive.extractfile(layer).read())))
    for path in sorted(tree):
        print(shown(path, tree[path]))
    for key in ("architecture", "os", "author"):
        if config.get(key):
            print(key, config[key])
    for key, value in sorted((config.get("config") or {}).items()):
        # What a builder notes of its last step, and of the image below.
        if key in ("Image", "Hostname", "ArgsEscaped", "AttachStdout", "AttachStderr"):
            continue
        if key in ("Volumes", "ExposedPorts", "Labels"):
            for inner in sorted(value or {}):
                print(key, inner, short(json.dumps(value[inner])))
            continue
        value = {inner: value[inner] for inner in sorted(value)} if isinstance(value, dict) else value
        if value not in (None, "", {}, [], False):
            print(key, json.dumps(plain(value)))
    for number, entry in enumerate(config.get("history") or []):
        if number:
            print(f"history {number}", created_by(entry.get("created_by", "")).replace("\n", "\\n"))


main()
