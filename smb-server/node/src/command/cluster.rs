//! `holdfast cluster`.

use clap::{Args, Subcommand};

use super::{say, say_json};
use crate::{
    admin::{
        change::Done,
        settings::{SettingsChange, SettingsView},
    },
    cli::{At, LookArgs},
    client::AdminClient,
    failure::{Failure, USAGE},
};

/// The options, for `--help`.
const OPTIONS_HELP: &str = "Options of a cluster:
  signing=required|offered      required: sessions that do not sign are refused, so that no logon can be relayed
  encryption=required|offered   required: sessions that do not encrypt are refused
  lockout-threshold=NUMBER      failed logons in a row that lock an account out; 0: none do
  lockout-minutes=NUMBER        how long, and how long failures are remembered
  list-anonymously=on|off       on: who has not logged on may list shares
They hold on every node for the next connection or session; sessions that exist go on as they are.";

/// `cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Shows the settings
    Show(LookArgs),
    /// Changes settings on all nodes
    #[command(after_help = OPTIONS_HELP)]
    Set(SetArgs),
}

/// Other settings.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Which node.
    #[command(flatten)]
    pub at: At,
    /// Options, see below
    #[arg(value_name = "OPTION=VALUE", required = true)]
    pub options: Vec<String>,
}

/// Carries it out.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Show(args) => {
            let settings: SettingsView = AdminClient::of(&args.at)?.get("/api/v1/settings")?;
            if args.json {
                return say_json(&settings);
            }
            lines(&settings).iter().for_each(|line| say(line));
            Ok(())
        }
        ClusterCommand::Set(args) => {
            AdminClient::of(&args.at)?.post::<Done>("/api/v1/settings", &change(&args.options)?)?;
            say("changed");
            Ok(())
        }
    }
}

fn change(words: &[String]) -> Result<SettingsChange, Failure> {
    let mut change = SettingsChange::default();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| Failure::new(USAGE, format!("{word:?}: write OPTION=VALUE")))?;
        change.set(name.trim(), value).map_err(|wrong| Failure::new(USAGE, wrong))?;
    }
    Ok(change)
}

fn lines(settings: &SettingsView) -> Vec<String> {
    let threshold = settings.lockout_threshold;
    vec![
        format!("cluster {}", settings.net_name),
        format!("  signing={}", settings.signing.word()),
        format!("  encryption={}", settings.encryption.word()),
        format!("  lockout-threshold={threshold}{}", if threshold == 0 { "   (off)" } else { "" }),
        format!("  lockout-minutes={}", settings.lockout_minutes),
        format!("  list-anonymously={}", if settings.list_anonymously { "on" } else { "off" }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_set() {
        let view: SettingsView = serde_json::from_str(
            r#"{"net_name":"HF","signing":"required","encryption":"offered","lockout_threshold":5,"lockout_minutes":10,"list_anonymously":false}"#,
        )
        .unwrap();
        let words: Vec<String> = lines(&view)[1..].iter().map(|line| line.trim().to_owned()).collect();
        let change = change(&words).unwrap();
        assert_eq!((change.lockout_threshold, change.list_anonymously), (Some(5), Some(false)));
        assert!(super::change(&["signing".to_owned()]).is_err());
    }
}
