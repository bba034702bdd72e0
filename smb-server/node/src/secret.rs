//! Input of passwords and tokens: a prompt without echo, standard input, or a file.
//!
//! Never the command line, which all users of the machine see with `ps` and the shell keeps in its
//! history.

use std::{
    fmt,
    io::{BufRead as _, IsTerminal as _, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    command::warn,
    failure::{DATA, Failure, USAGE},
};

/// Longest input that holds secrets, bytes.
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// Longest password or token, bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// A secret text; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Checks the length of a text.
    ///
    /// # Errors
    /// The text is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, Failure> {
        let text = text.into();
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(Failure::new(DATA, format!("a password or token must have 1 to {SECRET_BYTES_MAX} bytes")));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A user with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The password; may hold colons.
    pub password: Secret,
}

/// Sources of passwords; without any of them a prompt.
#[derive(Debug, Clone, Default, Args)]
pub struct PasswordArgs {
    /// Read the password from standard input: one line for each user
    #[arg(long)]
    pub password_stdin: bool,
    /// Read the password from a file: one line for each user
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// Reads new passwords for these users, in their order.
    ///
    /// # Errors
    /// A password is missing, empty, or differs when typed again.
    pub fn accounts(&self, names: &[String]) -> Result<Vec<Account>, Failure> {
        names.iter().try_for_each(|name| check_name(name))?;
        let lines = match (&self.password_file, self.password_stdin) {
            _ if names.is_empty() => return Ok(Vec::new()),
            (Some(file), _) => Some(lines_of_file(file)?),
            (None, true) => Some(lines_of_stdin()?),
            (None, false) => None,
        };
        let Some(lines) = lines else {
            return names.iter().map(|name| Ok(Account { name: name.clone(), password: ask_twice(name)? })).collect();
        };
        if lines.len() < names.len() {
            return Err(Failure::new(DATA, format!("there are {} passwords for {} users: one line for each", lines.len(), names.len())));
        }
        let account = |(name, line): (&String, String)| Ok(Account { name: name.clone(), password: Secret::new(line)? });
        names.iter().zip(lines).map(account).collect()
    }
}

/// Rejects `NAME:PASSWORD` in place of a name, without repeating the password.
///
/// # Errors
/// The name has a colon.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let Some((name, _)) = name.split_once(':') else { return Ok(()) };
    let message = format!(
        "write the name {name:?} without a password: what stands on a command line is seen by every user of the machine. \
         Leave it out to be asked for it, or use --password-stdin or --password-file FILE"
    );
    Err(Failure::new(USAGE, message))
}

/// The failure for a token on the command line.
#[must_use]
pub fn token_on_command_line() -> Failure {
    Failure::new(
        USAGE,
        "do not write the token on the command line: it is seen there by every user of the machine. \
         Leave it out to be asked for it, or use --token-stdin or --token-file FILE",
    )
}

/// Reads users from a file of lines `NAME:PASSWORD`. Skips empty lines and lines that begin with #.
///
/// # Errors
/// The file cannot be read, or a line has another form.
pub fn accounts_of_file(file: &Path) -> Result<Vec<Account>, Failure> {
    let mut accounts = Vec::new();
    for (number, line) in lines_of_file(file)?.iter().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let bad = || Failure::new(DATA, format!("line {} of {} is not NAME:PASSWORD", number + 1, file.display()));
        let (name, password) = line.split_once(':').ok_or_else(bad)?;
        if name.is_empty() || password.is_empty() {
            return Err(bad());
        }
        accounts.push(Account { name: name.to_owned(), password: Secret::new(password)? });
    }
    Ok(accounts)
}

/// Reads the first line of a file.
///
/// # Errors
/// The file cannot be read, or its first line is empty.
pub fn of_file(file: &Path) -> Result<Secret, Failure> {
    let first = lines_of_file(file)?.into_iter().next().unwrap_or_default();
    Secret::new(first.trim()).map_err(|failure| Failure::new(failure.code, format!("{}: {failure}", file.display())))
}

/// Reads the first line of standard input.
///
/// # Errors
/// The first line is missing or empty.
pub fn of_stdin() -> Result<Secret, Failure> {
    Secret::new(lines_of_stdin()?.into_iter().next().unwrap_or_default().trim())
}

/// Prompts at the terminal without echo.
///
/// # Errors
/// Standard input is no terminal; `instead` names the alternatives.
pub fn ask(question: &str, instead: &str) -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(USAGE, format!("there is no terminal to ask for it: use {instead}")));
    }
    let typed = rpassword::prompt_password(question);
    Secret::new(typed.map_err(|e| Failure::new(DATA, format!("nothing can be read from the terminal: {e}; use {instead}")))?)
}

/// Prompts at the terminal; an empty line is `None`.
///
/// # Errors
/// The terminal cannot be read.
pub fn ask_or_nothing(question: &str) -> Result<Option<Secret>, Failure> {
    let typed = rpassword::prompt_password(question);
    let typed = typed.map_err(|e| Failure::new(DATA, format!("nothing can be read from the terminal: {e}; use --token-file FILE")))?;
    if typed.is_empty() { Ok(None) } else { Secret::new(typed).map(Some) }
}

fn ask_twice(name: &str) -> Result<Secret, Failure> {
    const INSTEAD: &str = "--password-stdin or --password-file FILE";
    let first = ask(&format!("Password for {name}: "), INSTEAD)?;
    let second = ask(&format!("Again, the password for {name}: "), INSTEAD)?;
    if first == second { Ok(first) } else { Err(Failure::new(DATA, "the two passwords differ; nothing was changed")) }
}

fn lines_of_file(path: &Path) -> Result<Vec<String>, Failure> {
    let failed = |e: std::io::Error| Failure::file("read", path, &e);
    let file = std::fs::File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_file() && about.permissions().mode() & 0o077 != 0 {
        warn(&format!("others may read {}: chmod 600 it", path.display()));
    }
    lines(file).map_err(failed)
}

fn lines_of_stdin() -> Result<Vec<String>, Failure> {
    lines(std::io::stdin()).map_err(|e| Failure::new(DATA, format!("standard input cannot be read: {e}")))
}

fn lines(input: impl Read) -> std::io::Result<Vec<String>> {
    let lines = std::io::BufReader::new(input.take(INPUT_BYTES_MAX)).lines();
    lines.map(|line| line.map(|line| line.trim_end_matches('\r').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_secret_is_not_told_by_debug() {
        let account = Account { name: "ann".to_owned(), password: Secret::new("Secret1!").unwrap() };
        assert!(!format!("{account:?}").contains("Secret1!"));
        assert!(Secret::new("").is_err() && Secret::new("x".repeat(5000)).is_err());
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        let failure = PasswordArgs::default().accounts(&["ann:Secret1!".to_owned()]).unwrap_err();
        assert_eq!(failure.code, USAGE);
        assert!(failure.message.contains("\"ann\"") && failure.message.contains("--password-stdin"), "{failure}");
        assert!(!failure.message.contains("Secret1!"), "{failure}");
        assert!(!token_on_command_line().message.is_empty());
    }

    #[test]
    fn passwords_come_from_a_file_in_the_order_of_the_users() {
        let names = ["ann".to_owned(), "bob".to_owned()];
        let passwords = file("one:with colon\r\ntwo\n");
        let args = PasswordArgs { password_file: Some(passwords.path().to_owned()), ..PasswordArgs::default() };
        let accounts = args.accounts(&names).unwrap();
        assert_eq!(accounts.iter().map(|account| account.password.expose()).collect::<Vec<_>>(), ["one:with colon", "two"]);
        let short = file("one\n");
        let args = PasswordArgs { password_file: Some(short.path().to_owned()), ..PasswordArgs::default() };
        assert!(args.accounts(&names).unwrap_err().message.contains("1 passwords for 2 users"));
        assert_eq!(args.accounts(&[]), Ok(Vec::new()));
    }

    #[test]
    fn users_come_from_a_file_of_lines() {
        let users = file("# people\nann:a:b\n\nbob:x\n");
        let accounts = accounts_of_file(users.path()).unwrap();
        assert_eq!(accounts.len(), 2);
        assert_eq!((accounts[0].name.as_str(), accounts[0].password.expose()), ("ann", "a:b"));
        for bad in ["ann", ":x", "ann:"] {
            assert!(accounts_of_file(file(bad).path()).unwrap_err().message.contains("line 1"), "{bad}");
        }
        assert_eq!(of_file(file("token \nmore\n").path()).unwrap().expose(), "token");
        assert!(of_file(file("\n").path()).is_err());
    }
}
