//! The management interface that every endpoint of an RPC server has (C706, appendix Q): which interfaces it serves, how
//! busy it is, whether it listens. Nobody stops the server through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use uuid::{Uuid, uuid};

use super::{CallContext, InterfaceSet};
use crate::fault::Fault;
use crate::ndr::{Ndr, NdrError, NdrReader, NdrWriter, NoParameters};
use crate::syntax::{SyntaxId, TransferSyntax};

/// The interface.
pub const MGMT: SyntaxId = SyntaxId::new(uuid!("afa8bd80-7d8a-11c9-bef4-08002b102989"), 1, 0);

const STATUS_OK: u32 = 0;
const STATUS_ACCESS_DENIED: u32 = 5;
/// Interfaces of one answer that are read.
const INTERFACES_MAX: usize = 1_024;

crate::ndr_structures! {
    /// rpc_if_id_t: an interface with its version.
    pub struct InterfaceId {
        /// Which interface.
        pub uuid: Uuid,
        /// Its major version.
        pub major: u16,
        /// Its minor version.
        pub minor: u16,
    }
}

/// rpc_if_id_vector_t: a count, and in the same structure an array of pointers to interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InterfaceIds(pub Vec<Option<InterfaceId>>);

/// The array's count comes before the structure that it is part of.
impl Ndr for InterfaceIds {
    const BYTES_MIN: usize = 8;

    fn alignment(syntax: TransferSyntax) -> usize {
        syntax.pointer_bytes()
    }

    fn encode(&self, out: &mut NdrWriter) {
        out.length(self.0.len());
        out.align(Self::alignment(out.syntax()));
        out.u32(u32::try_from(self.0.len()).expect("a few interfaces"));
        Ndr::encode_elements(&self.0, out);
    }

    fn encode_deferred(&self, out: &mut NdrWriter) {
        self.0.encode_deferred(out);
    }

    fn decode(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        let count = reader.count(4)?;
        reader.align(Self::alignment(reader.syntax()))?;
        if count > INTERFACES_MAX || u32::try_from(count) != Ok(reader.u32()?) {
            return Err(NdrError("number of interfaces is not their count"));
        }
        self.0 = Ndr::decode_elements(count, reader)?;
        Ok(())
    }

    fn decode_deferred(&mut self, reader: &mut NdrReader<'_>) -> Result<(), NdrError> {
        self.0.decode_deferred(reader)
    }
}

crate::ndr_parameters! {
    /// rpc__mgmt_inq_if_ids, out.
    pub struct InterfaceIdsAnswer {
        /// The interfaces.
        pub interfaces: Option<InterfaceIds>,
        /// The return value.
        pub status: u32,
    }

    /// rpc__mgmt_inq_stats, in.
    pub struct StatisticsRequest {
        /// How many numbers are wanted.
        pub count: u32,
    }

    /// rpc__mgmt_inq_stats, out.
    pub struct StatisticsAnswer {
        /// How many numbers there are.
        pub count: u32,
        /// Calls in, calls out, packets in, packets out. Only calls in are counted.
        pub statistics: Vec<u32>,
        /// The return value.
        pub status: u32,
    }

    /// rpc__mgmt_stop_server_listening, out.
    pub struct StopAnswer {
        /// The return value.
        pub status: u32,
    }

    /// rpc__mgmt_is_server_listening, out.
    pub struct ListeningAnswer {
        /// The outcome.
        pub status: u32,
        /// The return value: 1 if it listens.
        pub listening: u32,
    }
}

crate::interface! {
    syntax: MGMT;
    /// What the management of an endpoint answers.
    server: pub ManagementServer;
    /// The management of an endpoint as an interface.
    stub: pub ManagementStub;
    /// Calls of the management interface.
    client: pub ManagementCalls;
    /// rpc__mgmt_inq_if_ids.
    0 => interface_ids(NoParameters) -> InterfaceIdsAnswer;
    /// rpc__mgmt_inq_stats.
    1 => statistics(StatisticsRequest) -> StatisticsAnswer;
    /// rpc__mgmt_is_server_listening.
    2 => is_listening(NoParameters) -> ListeningAnswer;
    /// rpc__mgmt_stop_server_listening: always refused.
    3 => stop(NoParameters) -> StopAnswer;
}

/// The management of one endpoint.
pub struct Management {
    interfaces: Vec<InterfaceId>,
    calls: AtomicU32,
}

/// These interfaces, and their management beside them.
pub fn managed(interfaces: InterfaceSet) -> InterfaceSet {
    let ids = interfaces.syntaxes().chain([MGMT]);
    let interfaces_with = ids.map(|SyntaxId { uuid, major, minor }| InterfaceId { uuid, major, minor }).collect();
    let management = Management { interfaces: interfaces_with, calls: AtomicU32::new(0) };
    interfaces.with(Arc::new(ManagementStub(Arc::new(management))))
}

impl ManagementServer for Management {
    async fn interface_ids(self: Arc<Self>, _: NoParameters, _context: CallContext) -> Result<InterfaceIdsAnswer, Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let interfaces = InterfaceIds(self.interfaces.iter().cloned().map(Some).collect());
        Ok(InterfaceIdsAnswer { interfaces: Some(interfaces), status: STATUS_OK })
    }

    async fn statistics(self: Arc<Self>, request: StatisticsRequest, _context: CallContext) -> Result<StatisticsAnswer, Fault> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let statistics: Vec<u32> = [calls, 0, 0, 0].into_iter().take(usize::try_from(request.count).unwrap_or(usize::MAX)).collect();
        let count = u32::try_from(statistics.len()).expect("four numbers");
        Ok(StatisticsAnswer { count, statistics, status: STATUS_OK })
    }

    async fn is_listening(self: Arc<Self>, _: NoParameters, _context: CallContext) -> Result<ListeningAnswer, Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(ListeningAnswer { status: STATUS_OK, listening: 1 })
    }

    async fn stop(self: Arc<Self>, _: NoParameters, _context: CallContext) -> Result<StopAnswer, Fault> {
        Ok(StopAnswer { status: STATUS_ACCESS_DENIED })
    }

    /// The server's principal name is not for everybody.
    fn other(&self, opnum: u16) -> Fault {
        if opnum == 4 { Fault::ACCESS_DENIED } else { Fault::OPNUM_OUT_OF_RANGE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndr::Parameters;

    #[test]
    fn the_interfaces_come_back_in_both_syntaxes() {
        let id = |uuid| Some(InterfaceId { uuid, major: 1, minor: 2 });
        let answer = InterfaceIdsAnswer { interfaces: Some(InterfaceIds(vec![id(MGMT.uuid), None, id(Uuid::nil())])), status: 7 };
        for syntax in TransferSyntax::ALL {
            assert_eq!(InterfaceIdsAnswer::from_stub(&answer.to_stub(syntax), syntax), Ok(answer.clone()));
        }
        // referent | count of the array | count, two referents and a null | two interfaces | status
        assert_eq!(answer.to_stub(TransferSyntax::Ndr20).len(), 4 + 4 + 16 + 40 + 4);
    }
}
