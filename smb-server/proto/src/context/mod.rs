//! Create contexts (MS-SMB2 2.2.13.2, 2.2.14.2), one file each.
//!
//! Says which bytes are a sound context; which combinations are legal is the server's business.

pub mod alsi;
pub mod app_instance_id;
pub mod app_instance_version;
pub mod chain;
pub mod dh2c;
pub mod dh2q;
pub mod dhnc;
pub mod dhnq;
pub mod exta;
pub mod mxac;
pub mod qfid;
pub mod rqls;
pub mod secd;
pub mod twrp;
pub mod unknown;

pub use alsi::AllocationSize;
pub use app_instance_id::AppInstanceId;
pub use app_instance_version::AppInstanceVersion;
pub use dh2c::DurableReconnectV2;
pub use dh2q::{DurableRequestV2, DurableResponseV2};
pub use dhnc::DurableReconnect;
pub use dhnq::{DurableRequest, DurableResponse};
pub use exta::EaBuffer;
pub use mxac::{MaximalAccessRequest, MaximalAccessResponse};
pub use qfid::{OnDiskIdRequest, OnDiskIdResponse};
pub use rqls::{LeaseContext, LeaseFlags, LeaseV2};
pub use secd::SecurityDescriptorContext;
pub use twrp::TimeWarp;
pub use unknown::UnknownContext;

/// A context of a CREATE request.
#[derive(Clone, PartialEq, Debug)]
pub enum RequestContext {
    /// `ExtA`.
    EaBuffer(EaBuffer),
    /// `SecD`.
    SecurityDescriptor(SecurityDescriptorContext),
    /// `DHnQ`.
    DurableRequest(DurableRequest),
    /// `DHnC`.
    DurableReconnect(DurableReconnect),
    /// `AlSi`.
    AllocationSize(AllocationSize),
    /// `MxAc`.
    MaximalAccess(MaximalAccessRequest),
    /// `TWrp`.
    TimeWarp(TimeWarp),
    /// `QFid`.
    OnDiskId(OnDiskIdRequest),
    /// `RqLs`, either version.
    Lease(LeaseContext),
    /// `DH2Q`.
    DurableRequestV2(DurableRequestV2),
    /// `DH2C`.
    DurableReconnectV2(DurableReconnectV2),
    /// AppInstanceId.
    AppInstanceId(AppInstanceId),
    /// AppInstanceVersion.
    AppInstanceVersion(AppInstanceVersion),
    /// Anything else, as sent.
    Unknown(UnknownContext),
}

/// A context of a CREATE response.
#[derive(Clone, PartialEq, Debug)]
pub enum ResponseContext {
    /// `DHnQ`.
    Durable(DurableResponse),
    /// `MxAc`.
    MaximalAccess(MaximalAccessResponse),
    /// `QFid`.
    OnDiskId(OnDiskIdResponse),
    /// `RqLs`, either version.
    Lease(LeaseContext),
    /// `DH2Q`.
    DurableV2(DurableResponseV2),
    /// Anything else, as sent.
    Unknown(UnknownContext),
}

/// The contexts of one request, each at its place; of two of a kind the first counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateContexts<'a> {
    /// `ExtA`.
    pub ea_buffer: Option<&'a EaBuffer>,
    /// `SecD`.
    pub security_descriptor: Option<&'a SecurityDescriptorContext>,
    /// `DHnQ`.
    pub durable_request: Option<&'a DurableRequest>,
    /// `DHnC`.
    pub durable_reconnect: Option<&'a DurableReconnect>,
    /// `AlSi`.
    pub allocation_size: Option<&'a AllocationSize>,
    /// `MxAc`.
    pub maximal_access: Option<&'a MaximalAccessRequest>,
    /// `TWrp`.
    pub time_warp: Option<&'a TimeWarp>,
    /// `QFid`.
    pub on_disk_id: Option<&'a OnDiskIdRequest>,
    /// `RqLs`.
    pub lease: Option<&'a LeaseContext>,
    /// `DH2Q`.
    pub durable_request_v2: Option<&'a DurableRequestV2>,
    /// `DH2C`.
    pub durable_reconnect_v2: Option<&'a DurableReconnectV2>,
    /// AppInstanceId.
    pub app_instance_id: Option<&'a AppInstanceId>,
    /// AppInstanceVersion.
    pub app_instance_version: Option<&'a AppInstanceVersion>,
}

impl<'a> CreateContexts<'a> {
    /// Sorts a request's contexts.
    #[must_use]
    pub fn sort(contexts: &'a [RequestContext]) -> Self {
        fn first<'a, T>(place: &mut Option<&'a T>, found: &'a T) {
            if place.is_none() {
                *place = Some(found);
            }
        }
        let mut s = Self::default();
        for c in contexts {
            match c {
                RequestContext::EaBuffer(x) => first(&mut s.ea_buffer, x),
                RequestContext::SecurityDescriptor(x) => first(&mut s.security_descriptor, x),
                RequestContext::DurableRequest(x) => first(&mut s.durable_request, x),
                RequestContext::DurableReconnect(x) => first(&mut s.durable_reconnect, x),
                RequestContext::AllocationSize(x) => first(&mut s.allocation_size, x),
                RequestContext::MaximalAccess(x) => first(&mut s.maximal_access, x),
                RequestContext::TimeWarp(x) => first(&mut s.time_warp, x),
                RequestContext::OnDiskId(x) => first(&mut s.on_disk_id, x),
                RequestContext::Lease(x) => first(&mut s.lease, x),
                RequestContext::DurableRequestV2(x) => first(&mut s.durable_request_v2, x),
                RequestContext::DurableReconnectV2(x) => first(&mut s.durable_reconnect_v2, x),
                RequestContext::AppInstanceId(x) => first(&mut s.app_instance_id, x),
                RequestContext::AppInstanceVersion(x) => first(&mut s.app_instance_version, x),
                RequestContext::Unknown(_) => {}
            }
        }
        s
    }
}
