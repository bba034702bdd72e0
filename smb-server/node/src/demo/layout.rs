//! Where the demo's nodes live: directories, addresses, ports, configuration files.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use crate::{
    cli::DemoArgs,
    config::{Config, Ports},
    failure::{CANNOT_CREATE, CONFIG, Failure, UNAVAILABLE},
    identity,
};

/// Node 1 has this as the last number of its address.
const FIRST_HOST: u8 = 11;

/// One node of the demo.
pub(crate) struct NodePlan {
    /// 1, 2, …
    pub(crate) number: u8,
    /// Its configuration.
    pub(crate) config: Config,
    /// The file that holds it.
    pub(crate) file: PathBuf,
    /// Where its messages go.
    pub(crate) log: PathBuf,
}

/// Plans the nodes; true if the directory holds no cluster yet. A directory that does is used as it is.
pub(crate) fn plan(args: &DemoArgs, dir: &Path) -> Result<(Vec<NodePlan>, bool), Failure> {
    let first = node_dir(dir, 1).join("holdfast.toml");
    let kept = if first.exists() { read_kept(dir)? } else { Vec::new() };
    let is_new = !kept.first().is_some_and(|plan| identity::exists(&plan.config.data_dir));
    if !is_new {
        if usize::from(args.nodes) < kept.len() {
            let message =
                format!("{} holds a cluster of {} nodes; start it with --nodes {} or more", dir.display(), kept.len(), kept.len());
            return Err(Failure::new(CONFIG, message));
        }
        let more = u8::try_from(kept.len()).unwrap_or(u8::MAX) + 1..=args.nodes;
        let mut plans = kept;
        for number in more {
            plans.push(make(args, dir, number)?);
        }
        return Ok((plans, false));
    }
    let plans = (1..=args.nodes).map(|number| make(args, dir, number)).collect::<Result<_, _>>()?;
    Ok((plans, true))
}

fn node_dir(dir: &Path, number: u8) -> PathBuf {
    dir.join(format!("node-{number}"))
}

fn read_kept(dir: &Path) -> Result<Vec<NodePlan>, Failure> {
    let mut plans = Vec::new();
    for number in 1..=u8::MAX {
        let home = node_dir(dir, number);
        let file = home.join("holdfast.toml");
        if !file.exists() {
            break;
        }
        plans.push(NodePlan { number, config: Config::read(&file)?, log: home.join("log"), file });
    }
    Ok(plans)
}

fn make(args: &DemoArgs, dir: &Path, number: u8) -> Result<NodePlan, Failure> {
    let ip = address(&args.loopback, number)?;
    let ports = if args.ephemeral_ports { free_ports(ip)? } else { chosen_ports(args)? };
    let home = node_dir(dir, number);
    std::fs::create_dir_all(&home).map_err(|e| Failure::new(CANNOT_CREATE, format!("cannot make {}: {e}", home.display())))?;
    let mut config = Config::on_address(format!("node-{number}"), home.join("data"), ip, ports);
    config.takeover.lease_ms = args.lease_ms;
    let file = home.join("holdfast.toml");
    config.write(&file)?;
    // Read back: a setting that the file format would refuse is refused now, not by the child.
    let config = Config::read(&file)?;
    Ok(NodePlan { number, config, log: home.join("log"), file })
}

fn address(loopback: &str, number: u8) -> Result<IpAddr, Failure> {
    let text = format!("{loopback}.{}", FIRST_HOST + number - 1);
    let parsed: Result<Ipv4Addr, _> = text.parse();
    match parsed {
        Ok(ip) if ip.is_loopback() => Ok(ip.into()),
        Ok(ip) => {
            Err(Failure::new(CONFIG, format!("{ip} is no loopback address; --loopback takes the first three numbers of one, like 127.0.0")))
        }
        Err(_) => Err(Failure::new(CONFIG, format!("{loopback:?} is not what --loopback takes: three numbers, like 127.0.0"))),
    }
}

fn chosen_ports(args: &DemoArgs) -> Result<Ports, Failure> {
    let (smb, mapper) = if args.well_known_ports { (445, 135) } else { (args.smb_port, args.mapper_port) };
    let witness = if args.well_known_ports {
        13501
    } else {
        mapper.checked_add(1).ok_or_else(|| Failure::new(CONFIG, "--mapper-port is too high: the witness needs the next one"))?
    };
    Ok(Ports { smb, mapper, witness, admin: args.admin_port, raft: 7450 })
}

/// Ports that nobody uses at the moment.
fn free_ports(ip: IpAddr) -> Result<Ports, Failure> {
    let failed = |e: std::io::Error| Failure::new(UNAVAILABLE, format!("no free port on {ip}: {e}"));
    let held = (0..5).map(|_| TcpListener::bind((ip, 0))).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let port = |i: usize| held[i].local_addr().map(|a| a.port()).map_err(failed);
    Ok(Ports { smb: port(0)?, mapper: port(1)?, witness: port(2)?, admin: port(3)?, raft: port(4)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses() {
        assert_eq!(address("127.0.0", 3).unwrap(), IpAddr::from([127, 0, 0, 13]));
        for bad in ["10.0.0", "127.0", "127.0.0.1", "x"] {
            assert_eq!(address(bad, 1).unwrap_err().code, CONFIG, "{bad}");
        }
    }

    #[test]
    fn free_ports_differ() {
        let p = free_ports([127, 0, 0, 1].into()).unwrap();
        let mut all = [p.smb, p.mapper, p.witness, p.admin, p.raft];
        all.sort_unstable();
        assert!(all.windows(2).all(|w| w[0] != w[1]));
    }
}
