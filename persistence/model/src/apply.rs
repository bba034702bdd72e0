//! The door: one command in, one outcome and its events out. Only dispatches.

use crate::command::{self, Command};
use crate::effects::{Effects, reject};
use crate::id::LogTime;
use crate::outcome::{Applied, Rejection};
use crate::state::State;

impl State {
    /// Applies a command at a time that the leader stamped. Deterministic; never panics on what a command says, only on a broken invariant.
    pub fn apply(&mut self, now: LogTime, command: &Command) -> Applied {
        let mut fx = Effects::new(now);
        command::ending::meet(self, &mut fx, command);
        let step = match command {
            Command::ClusterInit { net_name, server_guid } => command::cluster::init(self, net_name, *server_guid),
            _ if self.cluster.is_none() => reject(Rejection::NotInitialised),
            Command::NodeJoin { node, name, addresses, boot_id } => command::node::join(self, &mut fx, *node, name, addresses, boot_id),
            Command::NodeDown { node, incarnation } => command::node::down(self, &mut fx, *node, *incarnation),
            Command::NodeDrain { node, on } => command::node::drain(self, &mut fx, *node, *on),
            Command::NodeRemove { node } => command::node::remove(self, *node),
            Command::SessionOpen { session, node, incarnation, client_guid, user, user_name, client_address, previous_session } => {
                let record = crate::record::Session {
                    id: *session,
                    node: *node,
                    incarnation: *incarnation,
                    client_guid: *client_guid,
                    user: std::sync::Arc::new(user.clone()),
                    user_name: user_name.as_str().into(),
                    client_address: client_address.as_str().into(),
                    opened_at: now,
                };
                command::session::open(self, &mut fx, record, *previous_session)
            }
            Command::OpenFile(r) => command::open::open_file(self, &mut fx, r),
            Command::ReserveOpen(r) => command::open::reserve(self, &mut fx, r),
            Command::ConfirmOpen { open, file, create_action, is_directory, by } => {
                command::confirm::confirm(self, &mut fx, *open, *file, *create_action, *is_directory, *by)
            }
            Command::AbortOpen { open, by } => command::confirm::abort(self, &mut fx, *open, *by),
            Command::CloseOpen { open, by } => command::close::close(self, &mut fx, *open, *by),
            Command::DeleteDone { file } => command::delete::done(self, &mut fx, *file),
            Command::SetDeletePending { open, on, by } => command::delete::set_pending(self, &mut fx, *open, *on, *by),
            Command::Lock { open, elements, fail_immediately, sequence, by } => {
                command::lock::lock(self, &mut fx, *open, elements, *fail_immediately, *sequence, *by)
            }
            Command::Unlock { open, ranges, sequence, by } => command::lock::unlock(self, &mut fx, *open, ranges, *sequence, *by),
            Command::BreakForIo { file, by_open, kind } => command::caching::break_for_io(self, &mut fx, *file, *by_open, *kind),
            Command::LeaseAck { client_guid, key, state } => command::caching::lease_ack(self, &mut fx, *client_guid, *key, *state),
            Command::OplockAck { open, level, by } => command::caching::oplock_ack(self, &mut fx, *open, *level, *by),
            Command::BreakUndeliverable { target } => command::caching::undeliverable(self, &mut fx, *target),
            Command::DirectoryChanged { parent, by } => command::caching::directory_changed(self, &mut fx, *parent, *by),
            Command::RenameIntent { open, new_path, replace, target, by } => {
                command::rename::intent(self, &mut fx, *open, new_path, *replace, *target, *by)
            }
            Command::RenameDone { open, done, by } => command::rename::done(self, &mut fx, *open, *done, *by),
            Command::ReclaimOpen(r) => command::reclaim::reclaim(self, &mut fx, r),
            Command::DisconnectOpens { session, why } => command::disconnect::disconnect(self, &mut fx, *session, why),
            Command::Expire => command::expire::expire(self, &mut fx, usize::MAX),
            Command::SetResilient { open, timeout_ms, by } => command::durability::set_resilient(self, &mut fx, *open, *timeout_ms, *by),
            Command::SetOpenClass { open, class, by } => command::durability::set_class(self, &mut fx, *open, *class, *by),
            Command::EndReplay { open, by } => command::durability::end_replay(self, &mut fx, *open, *by),
            Command::ShareAdd { name, settings } => command::share::add(self, &mut fx, name, settings, None),
            Command::ShareChange { share, settings, instead_of } => command::share::change(self, &mut fx, *share, settings, instead_of),
            Command::ShareRemove { share } => command::share::remove(self, &mut fx, *share),
            Command::UserAdd { name, nt_hash, sid, unix } => command::user::add(self, &mut fx, name, *nt_hash, sid.as_ref(), *unix),
            Command::UserMap { name, unix } => command::user::map(self, &mut fx, name, *unix),
            Command::UserSetPassword { name, nt_hash } => command::user::set_password(self, &mut fx, name, *nt_hash),
            Command::UserEnable { name, enabled } => command::user::enable(self, &mut fx, name, *enabled),
            Command::UserRemove { name } => command::user::remove(self, &mut fx, name),
            Command::GroupAdd { name, comment, gid } => command::group::add(self, &mut fx, name, comment, *gid),
            Command::GroupChange { name, comment, gid } => command::group::change(self, &mut fx, name, comment.as_deref(), *gid),
            Command::GroupRemove { name } => command::group::remove(self, &mut fx, name),
            Command::GroupMember { group, member, on } => command::group::member(self, &mut fx, group, member, *on),
            Command::TokenAdd { hash, ttl_ms } => command::token::add(self, &fx, *hash, *ttl_ms),
            Command::TokenUse { hash } => command::token::spend(self, &fx, *hash),
            Command::AsymmetricShareAdd { name, settings, owner } => command::share::add_owned(self, &mut fx, name, settings, *owner),
            Command::ShareMove { share, to, instead_of } => command::share::give(self, &mut fx, *share, *to, *instead_of),
            Command::NodeEnd { node, incarnation, at_most } => command::node::end(self, &mut fx, *node, *incarnation, *at_most),
            Command::ExpireSome { at_most } => {
                command::expire::expire(self, &mut fx, usize::try_from((*at_most).max(1)).unwrap_or(usize::MAX))
            }
            Command::AdminTokenAdd(token) => command::admin_token::add(self, token),
            Command::AdminTokenRemove { name } => command::admin_token::remove(self, name),
            Command::SessionClose { session } => command::disconnect::end_by_operator(self, &mut fx, *session),
            Command::OpenClose { open } => command::close::by_operator(self, &mut fx, *open),
            Command::ClientBlock { network, reason } => command::block::add(self, &mut fx, *network, reason),
            Command::ClientUnblock { network } => command::block::remove(self, *network),
            Command::ClusterSet { settings, instead_of } => command::cluster::set(self, &mut fx, settings, instead_of),
            Command::LogonFailed { name } => command::user::logon_failed(self, &mut fx, name),
            Command::LogonSucceeded { name } => command::user::logon_succeeded(self, name),
            Command::UserUnlock { name } => command::user::unlock(self, &mut fx, name),
            Command::NodeListen { node, by, add, remove } => command::node::listen(self, &mut fx, *node, *by, add, remove),
        };
        let (Ok(outcome) | Err(outcome)) = step;
        fx.into_applied(outcome)
    }
}
