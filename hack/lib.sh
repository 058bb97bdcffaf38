# shellcheck shell=bash
# Sourced by the scripts of this folder: what must be installed, the build, and the root file systems that tests and
# quickstart import.
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH="$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"
target=${CARGO_TARGET_DIR:-$repo/target}
if [ "$(id -u)" = 0 ]; then cache=/var/cache/lrun; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/lrun; fi

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
triple() { rustc -vV | sed -n 's/^host: //p'; }

# install PACKAGE…: by apt, those that are not installed yet
install_packages() {
  local missing=() p
  for p; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q ' installed' || missing+=("$p"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# make_stage0: $cache/stage0.tar, a Debian minbase. apt's network settings are this machine's, and stay in it.
make_stage0() {
  [ ! -e "$cache/stage0.tar" ] || return 0
  say "making the stage0 root file system (once): $cache/stage0.tar"
  local options=() o run=()
  while read -r o; do options+=(--aptopt="$o"); done < <(apt-config dump | grep -E '^Acquire::(https?::|Check-)')
  grep -q "^$(id -un):" /etc/subuid || run=(as_root) # without ranges of its own, mmdebstrap needs root
  mkdir -p "$cache"
  "${run[@]}" mmdebstrap --quiet --variant=minbase --format=tar "${options[@]}" \
    "${LRUN_SUITE:-bookworm}" - > "$cache/stage0.part"
  mv "$cache/stage0.part" "$cache/stage0.tar"
}

# make_busybox: $cache/busybox.tar, a small root file system for tests, with a user alice (1000)
make_busybox() {
  [ ! -e "$cache/busybox.tar" ] || return 0
  local work; work=$(mktemp -d)
  (cd "$work" && apt-get download -qq busybox-static && dpkg-deb -x busybox-static_*.deb deb)
  mkdir -p "$work"/root/{bin,etc,root,tmp,opt,home/alice,var/lib/files}; chmod 1777 "$work/root/tmp"
  cp "$(find "$work/deb" -name busybox -type f -perm -1)" "$work/root/bin/busybox"
  "$work/root/bin/busybox" --list | grep -vx busybox | while read -r o; do ln -s busybox "$work/root/bin/$o"; done
  printf 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n' > "$work/root/etc/passwd"
  printf 'root:x:0:\ntty:x:5:\nalice:x:1000:\nstaff:x:50:alice\n' > "$work/root/etc/group"
  for o in $(seq 1 40); do echo "file $o" > "$work/root/var/lib/files/$o"; done
  mkdir -p "$cache"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1700000000 -C "$work/root" -cf "$cache/busybox.part" .
  mv "$cache/busybox.part" "$cache/busybox.tar"; rm -rf "$work"
}
