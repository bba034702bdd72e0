//! `holdfast certificate` and `holdfast authority`.

use serde::Serialize;

use super::{local_audit, say, say_json};
use crate::{
    admin::certificate::{CertificateView, RenewalView, Retired, hex},
    cli::{AuthorityCommand, CertificateCommand, ExportArgs, ImportArgs, LookArgs},
    client::AdminClient,
    config::Config,
    failure::{CONFIG, DATA, Failure, NO_INPUT},
    identity,
};

/// How much of a fingerprint people are shown.
const SHORT: usize = 16;

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..SHORT).unwrap_or(fingerprint)
}

/// `holdfast certificate`.
///
/// # Errors
/// The node cannot be asked, or refuses.
pub fn run(command: &CertificateCommand) -> Result<(), Failure> {
    match command {
        CertificateCommand::Show(args) => show(args),
        CertificateCommand::Rotate(args) => {
            let view: CertificateView = AdminClient::patient(&args.at)?.post("/api/v1/certificates/rotate", &serde_json::json!({}))?;
            if args.json {
                return say_json(&view);
            }
            let days = view.certificate.as_ref().map_or(0, |certificate| certificate.days);
            say(&format!("node {} has a new certificate, good for {days} days; new connections use it", view.node));
            Ok(())
        }
    }
}

fn all(args: &LookArgs) -> Result<Vec<CertificateView>, Failure> {
    AdminClient::patient(&args.at)?.get("/api/v1/certificates")
}

fn show(args: &LookArgs) -> Result<(), Failure> {
    let views = all(args)?;
    if args.json {
        return say_json(&views);
    }
    for view in &views {
        match (&view.certificate, &view.error) {
            (Some(certificate), _) => {
                let issuer = view.issuer.as_deref().map_or("", short);
                let trusts: Vec<&str> = view.trusted.iter().map(|authority| short(&authority.fingerprint)).collect();
                let holds = if view.holds.is_some() { "   holds an authority's key" } else { "" };
                say(&format!(
                    "node {:<3} {} days left   issued by {issuer}   trusts {}{holds}",
                    view.node,
                    certificate.days,
                    trusts.join(" ")
                ));
            }
            (None, error) => say(&format!("node {:<3} unknown: {}", view.node, error.as_deref().unwrap_or("no answer"))),
        }
    }
    Ok(())
}

/// What `authority show --json` prints.
#[derive(Debug, Serialize)]
struct AuthorityView {
    fingerprint: String,
    days: i64,
    /// Nodes that trust it.
    trusted_by: Vec<u64>,
    /// Nodes whose certificates it has issued.
    issued: Vec<u64>,
    /// Nodes that hold its key.
    held_by: Vec<u64>,
}

/// `holdfast authority`.
///
/// # Errors
/// The node cannot be asked, or refuses; a file is missing, exists, or does not fit.
pub fn authority(command: &AuthorityCommand) -> Result<(), Failure> {
    match command {
        AuthorityCommand::Show(args) => show_authorities(args),
        AuthorityCommand::Renew(args) => {
            let renewal: RenewalView = AdminClient::patient(&args.at)?.post("/api/v1/authority/renew", &serde_json::json!({}))?;
            if args.json {
                return say_json(&renewal);
            }
            say(&format!("authority {} issues certificates now, {} is still trusted", short(&renewal.active), short(&renewal.former)));
            if renewal.behind.is_empty() {
                say("every node has a new certificate; end with `holdfast authority retire`");
            } else {
                let behind: Vec<String> = renewal.behind.iter().map(ToString::to_string).collect();
                say(&format!("these nodes get their new certificates when they can: {}", behind.join(", ")));
            }
            say("the new authority's key is on this node alone: copy it with `holdfast authority export`");
            Ok(())
        }
        AuthorityCommand::Retire(args) => {
            let retired: Retired = AdminClient::patient(&args.at)?.post("/api/v1/authority/retire", &serde_json::json!({}))?;
            if args.json {
                return say_json(&retired);
            }
            say(&format!("{} former authorities are trusted no longer", retired.retired));
            Ok(())
        }
        AuthorityCommand::Export(args) => {
            let config = Config::read(&args.at.config)?;
            let about = serde_json::json!({"to": args.to});
            local_audit::around(&config.data_dir, "authority export", about, || export(args, &config))
        }
        AuthorityCommand::Import(args) => {
            let config = Config::read(&args.at.config)?;
            let about = serde_json::json!({"from": args.from});
            local_audit::around(&config.data_dir, "authority import", about, || import(args, &config))
        }
    }
}

fn show_authorities(args: &LookArgs) -> Result<(), Failure> {
    let views = all(args)?;
    let mut authorities: Vec<AuthorityView> = Vec::new();
    for view in &views {
        for trusted in &view.trusted {
            let place = authorities.iter().position(|known| known.fingerprint == trusted.fingerprint);
            let place = place.unwrap_or_else(|| {
                let fingerprint = trusted.fingerprint.clone();
                authorities.push(AuthorityView { fingerprint, days: trusted.days, trusted_by: vec![], issued: vec![], held_by: vec![] });
                authorities.len() - 1
            });
            let known = &mut authorities[place];
            known.trusted_by.push(view.node);
            if view.issuer.as_ref() == Some(&trusted.fingerprint) {
                known.issued.push(view.node);
            }
            if view.holds.as_ref() == Some(&trusted.fingerprint) {
                known.held_by.push(view.node);
            }
        }
    }
    if args.json {
        return say_json(&authorities);
    }
    let list = |nodes: &[u64]| {
        if nodes.is_empty() { "nobody".to_owned() } else { nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") }
    };
    for authority in &authorities {
        let (trusted_by, issued, held_by) = (list(&authority.trusted_by), list(&authority.issued), list(&authority.held_by));
        let name = short(&authority.fingerprint);
        say(&format!(
            "authority {name}   {} days left   trusted by {trusted_by}   certificates of {issued}   key held by {held_by}",
            authority.days
        ));
    }
    for view in views.iter().filter(|view| view.error.is_some()) {
        say(&format!("node {} unknown: {}", view.node, view.error.as_deref().unwrap_or_default()));
    }
    Ok(())
}

/// What `authority export --json` and `import --json` print.
#[derive(Debug, Serialize)]
struct Copied {
    cluster: String,
    fingerprint: String,
    file: std::path::PathBuf,
}

fn export(args: &ExportArgs, config: &Config) -> Result<(), Failure> {
    let held = identity::load_authority(&config.data_dir)?.ok_or_else(|| {
        let dir = config.data_dir.display();
        Failure::new(NO_INPUT, format!("{dir} holds no authority: `holdfast authority show` says which nodes do"))
    })?;
    identity::export_authority(&args.to, &held)?;
    tell_copied(args.json, &held, &args.to, "it admits nodes: keep it as safe as the data")
}

fn import(args: &ImportArgs, config: &Config) -> Result<(), Failure> {
    let own = identity::load(&config.data_dir)?;
    let copy = identity::import_authority(&args.from)?;
    let unusable = |e: persistence::PkiError| Failure::new(DATA, e.to_string());
    if copy.cluster != own.cluster {
        let message = format!("{} is the authority of cluster {}, this node is one of {}", args.from.display(), copy.cluster, own.cluster);
        return Err(Failure::new(CONFIG, message));
    }
    let fingerprint = copy.fingerprint().map_err(unusable)?;
    if !own.authorities_facts().map_err(unusable)?.iter().any(|trusted| trusted.fingerprint == fingerprint) {
        let message = format!("{} was retired or replaced: this node does not trust it; export the present one", args.from.display());
        return Err(Failure::new(CONFIG, message));
    }
    identity::save_authority(&config.data_dir, &copy)?;
    tell_copied(args.json, &copy, &args.from, "this node admits others with it from now on")
}

fn tell_copied(is_json: bool, authority: &persistence::ClusterCa, file: &std::path::Path, what: &str) -> Result<(), Failure> {
    let fingerprint = hex(&authority.fingerprint().map_err(|e| Failure::new(DATA, e.to_string()))?);
    if is_json {
        return say_json(&Copied { cluster: authority.cluster.to_string(), fingerprint, file: file.to_owned() });
    }
    say(&format!("authority {} of cluster {}: {what}", short(&fingerprint), authority.cluster));
    Ok(())
}
