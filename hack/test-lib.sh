# shellcheck shell=bash
# Sourced by hack/test: the users, the place and the counting of the tests. `scratch`, `filters` and `target` are its.
passed=0 failed=0 skipped=0 failures=() victim=
# Two checkouts that are tested at once on one machine need users of their own: what a user has left running is ended.
test_user=${LRUN_TEST_USER:-lrun-test}

# prepare_machine: as root, once: the test users, and /dev/net/tun as distributions have it
prepare_machine() {
  local user
  for user in "$test_user" "$test_user-single"; do
    id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
  done
  grep -q "^$test_user:" /etc/subuid || usermod --add-subuids 1000000000-1000065535 "$test_user"
  grep -q "^$test_user:" /etc/subgid || usermod --add-subgids 1000000000-1000065535 "$test_user"
  sed -i "/^$test_user-single:/d" /etc/subuid /etc/subgid
  [ ! -e /dev/net/tun ] || [ "$(stat -c %a /dev/net/tun)" = 666 ] || chmod 666 /dev/net/tun
}

# scratch_folder: a file system that can hold an overlay's upper directory
scratch_folder() {
  local d
  for d in ${LRUN_TEST_DIR:+"$LRUN_TEST_DIR"} /var/tmp /tmp /dev/shm; do
    case $(stat -f -c %T "$d") in overlayfs | nfs* | fuse* | UNKNOWN*) ;; *) echo "$d"; return ;; esac
  done
  die "no file system for the tests' stores: set LRUN_TEST_DIR to a folder on ext4, xfs, btrfs or tmpfs"
}

# test_programs: builds the tests and prints their executables
test_programs() {
  cargo test --quiet --workspace --locked --no-run --message-format=json \
    | sed -n 's/.*"overflow_checks":[a-z]*,"test":true}.*"executable":"\([^"]*\)".*/\1/p'
}

failed_step() { failed=$((failed + 1)); failures+=("$1"); }

# run_program USER MODE PROGRAM: PROGRAM's tests as USER; MODE is the id mapping under test, or `unit`
run_program() {
  local user=$1 mode=$2 program=$3 name log as=() status=0 left limit=1500
  [ -z "${LRUN_TEST_LONG-}" ] || limit=14400
  name=${program##*/}; name=${name%-*}
  log=$scratch/$mode-$name.log
  say "$name ($mode)"
  install -m 755 "$program" "$scratch/test-$name" # beside the binary `lrun`
  mkdir -p "$scratch/$mode"; [ "$(id -u)" != 0 ] || chown "$user" "$scratch/$mode"
  if [ "$user" != "$(id -un)" ]; then as=(setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all); fi
  (cd "$scratch/$mode" && timeout -k 10 "$limit" "${as[@]}" env -i "PATH=$PATH" "HOME=$(getent passwd "$user" | cut -d: -f6)" \
    "USER=$user" LANG=C.UTF-8 TERM=xterm "TMPDIR=$scratch/$mode" "LRUN_BIN=$scratch/lrun" "LRUN_TEST_MODE=$mode" \
    "LRUN_TEST_IMAGES=$scratch" "LRUN_TEST_SKIPS=$scratch/$mode/skips" "INSTA_UPDATE=no" "INSTA_WORKSPACE_ROOT=$scratch" \
    ${LRUN_TEST_LONG:+LRUN_TEST_LONG=1} ${LRUN_DOCKERFILE_CORPUS:+"LRUN_DOCKERFILE_CORPUS=$LRUN_DOCKERFILE_CORPUS"} ${victim:+"LRUN_TEST_VICTIM=$victim"} RUST_BACKTRACE=1 \
    "$scratch/test-$name" "${filters[@]}" < /dev/null > "$log" 2>&1) || status=$?
  grep -E '^test .* FAILED$|^skipped|^test result' "$log" || true
  count "$log" "$status" "$name ($mode)" "$scratch/$mode/skips"
  # Not those that have ended and that the machine's first process has not waited for yet.
  left=$(pgrep -r D,R,S,T,t -f "$scratch/(test-)?lrun" || true
    [ "$user" = "$(id -un)" ] || pgrep -r D,R,S,T,t -u "$user" || true)
  if [ -n "$left" ]; then
    failed_step "$name ($mode): processes left"
    for left in $left; do tr '\0' ' ' < "/proc/$left/cmdline" || true; echo "(pid $left)"; kill -9 "$left" || true; done
  fi
  rm -rf --one-file-system "${scratch:?}/$mode"/*
}

# count LOG STATUS LABEL SKIPS: adds one program's results to the totals, and shows what failed
count() {
  local p f s=0
  read -r p f < <(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$1") || { p=0 f=0; }
  if [ -e "$4" ]; then s=$(wc -l < "$4"); sed 's/^/skipped: /' "$4"; rm -f "$4"; fi
  passed=$((passed + p - s)); failed=$((failed + f)); skipped=$((skipped + s))
  [ "$2" = 0 ] && return
  sed -n '/^failures:$/,$p' "$1" | head -n 400
  # Said again at the end, where whoever reads only that finds it.
  sed -n '/ panicked at /,/^stack backtrace:$/{/^stack/!p}' "$1" | cut -c 1-500 | head -n 40 | sed "s/^/$3: /" >> "$scratch/reasons"
  if [ "$f" = 0 ]; then tail -n 40 "$1"; failed_step "$3: ended with $2"; else failures+=("$3: $f tests"); fi
}

not_run() { skipped=$((skipped + 1)); printf 'skipped: %s\n' "$1"; }

totals() {
  local f
  [ ! -e "$scratch/reasons" ] || cat "$scratch/reasons"
  for f in "${failures[@]}"; do printf 'FAILED: %s\n' "$f"; done
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" = 0 ]
}
