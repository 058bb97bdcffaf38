//! `login`: a user and a password are tried at a registry, then kept.

use std::io::{BufRead, IsTerminal, Read};

use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::registry::client::Purpose;
use lrun_runtime::registry::credentials::{AuthFile, Credentials};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

use super::access::{Registries, auth_file, credentials, helpers, server};
use crate::args::{Global, LoginArgs};
use crate::ui::output;

const PASSWORD_MAX: u64 = 64 << 10;

/// Runs the command.
pub fn run(global: &Global, args: &LoginArgs) -> Result<u8> {
    let server = server(args.server.as_deref())?;
    let registries = Registries::open(global)?;
    let given = given(global, args, &server)?;
    let client = registries.client_with((&server, ""), Some(given.clone()), Purpose::Pull)?;
    client.ping().context(|| format!("log in to {server}"))?;
    let mut file = AuthFile::read(&auth_file(global.config.as_deref())?)?;
    if file.store(&server, &given, &helpers())? {
        output::complain(&format!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\n  hint: a credential helper keeps them in a keyring: \
             set \"credsStore\" there",
            file.path().display()
        ));
    }
    output::line("Login Succeeded");
    Ok(0)
}

/// The credentials to try: those of the command line, those that are kept, or what the user types.
fn given(global: &Global, args: &LoginArgs, server: &str) -> Result<Credentials> {
    let wrong = |message: &str| Error::new(ErrorKind::Invalid, message);
    if args.password.is_some() && args.password_stdin {
        return Err(wrong("--password and --password-stdin are mutually exclusive"));
    }
    if args.password_stdin {
        let username = args.username.clone().ok_or_else(|| wrong("Must provide --username with --password-stdin"))?;
        let mut password = String::new();
        std::io::stdin().take(PASSWORD_MAX).read_to_string(&mut password).context(|| "read the password")?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        return checked(username, password);
    }
    if args.password.is_some() {
        output::complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if args.username.is_none()
        && args.password.is_none()
        && let Some(kept) = credentials(global.config.as_deref(), server, "")?
    {
        output::complain("Authenticating with existing credentials...");
        return Ok(kept);
    }
    if (args.username.is_none() || args.password.is_none()) && !std::io::stdin().is_terminal() {
        return Err(wrong("Cannot perform an interactive login from a non TTY device")
            .hint("lrun login -u NAME --password-stdin SERVER < FILE"));
    }
    let username = args.username.clone().map_or_else(|| ask("Username: "), Ok)?;
    let password = args.password.clone().map_or_else(|| ask_silently("Password: "), Ok)?;
    checked(username, password)
}

fn checked(username: String, password: String) -> Result<Credentials> {
    if username.is_empty() || password.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a user name and a password are needed"));
    }
    if username.contains(':') {
        return Err(Error::new(ErrorKind::Invalid, "a user name has no colon"));
    }
    Ok(Credentials { username, password })
}

fn ask(prompt: &str) -> Result<String> {
    output::complain_lines(prompt);
    let mut line = String::new();
    std::io::stdin().lock().take(PASSWORD_MAX).read_line(&mut line).context(|| "read the terminal")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The same without an echo. Ctrl-C ends the line instead of the program, so that the terminal never stays silent.
fn ask_silently(prompt: &str) -> Result<String> {
    const CTRL_C: u8 = 3;
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).context(|| "read the terminal's modes")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    silent.local_modes.insert(LocalModes::ECHONL);
    silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context(|| "silence the terminal")?;
    output::complain_lines(prompt);
    let mut line = [0; 4096];
    let got = rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut line));
    tcsetattr(&stdin, OptionalActions::Now, &before).context(|| "restore the terminal")?;
    let line = &line[..got.context(|| "read the terminal")?];
    if line.ends_with(&[CTRL_C]) {
        output::complain_lines("\n");
        return Err(Error::new(ErrorKind::Invalid, "interrupted"));
    }
    let text = std::str::from_utf8(line).map_err(|_| Error::new(ErrorKind::Invalid, "the password is not UTF-8"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
