//! A terminal for a command, driven like a person would: type, read what appears, resize.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::lrun::exit_code;
use crate::watch::{DEADLINE, wait_until};

/// What the terminal has shown; `true` once nobody has it open any more.
type Screen = Arc<(Mutex<Shown>, Condvar)>;

/// What a terminal showed.
#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    /// Nobody has it open any more.
    over: bool,
    /// It is to be closed.
    close: bool,
}

/// A running command with its terminal. Output is consumed by [`Pty::expect`].
pub struct Pty {
    /// The command.
    pub child: Child,
    master: File,
    slave: OwnedFd,
    screen: Screen,
    seen: usize,
}

impl Pty {
    /// Starts the command, which must make itself a session leader with the terminal (`setsid --ctty`).
    pub(crate) fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a pty");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("open the terminal");
        tcsetwinsize(&master, size(24, 80)).expect("set the window's size");
        let end = || Stdio::from(slave.try_clone().expect("duplicate the terminal"));
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        drop(command);
        let master = File::from(master);
        let screen = Screen::default();
        watch(master.try_clone().expect("duplicate the master"), screen.clone());
        Self { child, master, slave, screen, seen: 0 }
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("type");
    }

    /// Types a line and Enter.
    pub fn line(&mut self, text: &str) {
        self.send(&format!("{text}\r"));
    }

    /// Gives the window another size, as a terminal emulator does.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).expect("set the window's size");
    }

    /// Whether the terminal is in its ordinary mode: it echoes and edits lines.
    pub fn is_cooked(&self) -> bool {
        use rustix::termios::LocalModes;
        let modes = tcgetattr(&self.slave).expect("the terminal's modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits until `text` appears; gives what came before it. What was found is consumed.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        let (lock, changed) = &*self.screen.clone();
        let mut shown = lock.lock().expect("the screen");
        loop {
            let new = &shown.bytes[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            let rest = end.saturating_duration_since(Instant::now());
            let new = String::from_utf8_lossy(new);
            assert!(!rest.is_zero(), "{text:?} does not appear; the terminal shows {new:?}");
            assert!(!shown.over, "{text:?} did not appear before the end; the terminal shows {new:?}");
            shown = changed.wait_timeout(shown, rest).expect("the screen").0;
        }
    }

    /// Waits for the command's end: what it still showed, and its exit code.
    #[track_caller]
    pub fn finish(mut self) -> (String, i32) {
        let status = wait_until(&mut self.child, Instant::now() + DEADLINE);
        let status = status.unwrap_or_else(|| {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let shown = self.screen.0.lock().expect("the screen");
            panic!("did not end; the terminal shows {:?}", String::from_utf8_lossy(&shown.bytes[self.seen..]))
        });
        let Self { slave, screen, seen, .. } = self;
        drop(slave);
        let (lock, changed) = &*screen;
        let shown = lock.lock().expect("the screen");
        let (shown, late) = changed.wait_timeout_while(shown, DEADLINE, |shown| !shown.over).expect("the screen");
        let rest = String::from_utf8_lossy(&shown.bytes[seen..]).into_owned();
        assert!(!late.timed_out(), "ended, but somebody has the terminal open; it shows {rest:?}");
        (rest, exit_code(status))
    }

    /// Closes the window: the terminal hangs up.
    pub fn close(self) -> Child {
        let Self { child, master, slave, screen, .. } = self;
        drop((slave, master));
        // The reader has the last descriptor of the master.
        let (lock, changed) = &*screen;
        let mut shown = lock.lock().expect("the screen");
        shown.close = true;
        let closed = changed.wait_timeout_while(shown, DEADLINE, |shown| !shown.over).expect("the screen");
        assert!(!closed.1.timed_out(), "the reader does not let go of the terminal");
        child
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Copies what the terminal shows to the screen until nobody has it open any more, or it is to be closed.
fn watch(master: File, screen: Screen) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut master = Some(master);
        while let Some(open) = &mut master {
            let mut ready = [rustix::event::PollFd::new(open, rustix::event::PollFlags::IN)];
            let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let some = rustix::event::poll(&mut ready, Some(&wait)).is_ok_and(|count| count > 0);
            let count = if some { Some(open.read(&mut buffer).unwrap_or(0)) } else { None };
            let mut shown = screen.0.lock().expect("the screen");
            if count == Some(0) || shown.close {
                master = None;
            }
            shown.bytes.extend_from_slice(&buffer[..count.unwrap_or(0)]);
            shown.over = master.is_none();
            screen.1.notify_all();
        }
    });
}
