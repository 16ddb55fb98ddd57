//! What goes over the wire in the action style.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use utoipa::openapi::{RefOr, Response};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::control::api::code::Code;
use crate::control::api::openapi::refusals;
use crate::control::api::wire::{BrokerView, CreatedBroker, TicketRule, revealed};
use crate::control::store::InstanceRow;

/// The actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(as = Action)]
pub enum Name {
    /// Opens a broker for each of `instances.N`, or none at all.
    CreateBrokers,
    /// Open brokers: all, `brokers.N`, or those of `instances.N`.
    DescribeBrokers,
    /// Closes `brokers.N` and ends their sessions.
    DeleteBrokers,
    /// Instances: all, or `instances.N`.
    DescribeInstances,
}

impl FromStr for Name {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let all = [Self::CreateBrokers, Self::DescribeBrokers, Self::DeleteBrokers, Self::DescribeInstances];
        all.into_iter().find(|known| format!("{known:?}") == name).ok_or(())
    }
}

/// The parameters of an action. Of a list only the first value is described here.
#[derive(IntoParams, ToSchema)]
#[schema(as = ActionForm)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used: lists are open, so parameters are read by name")]
pub struct Query {
    /// What to do.
    action: Name,
    /// The first instance; further ones as `instances.2` and so on, at most 100.
    #[param(rename = "instances.1", example = "i-8snyruit")]
    #[schema(rename = "instances.1", example = "i-8snyruit")]
    instances: Option<String>,
    /// The first broker; further ones as `brokers.2` and so on, at most 100.
    #[param(rename = "brokers.1")]
    #[schema(rename = "brokers.1")]
    brokers: Option<String>,
    /// `CreateBrokers`: seconds until a broker is closed if nobody uses it.
    #[param(minimum = 1, maximum = 86_400)]
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s: Option<u64>,
    /// `CreateBrokers`: address or prefix that clients come from.
    client: Option<String>,
    /// `CreateBrokers`: `required` (the default), or `optional`, which needs `client`.
    tickets: Option<TicketRule>,
    /// `CreateBrokers`: 1 if one native viewer is let in by its address, which needs `client`.
    #[param(minimum = 0, maximum = 1)]
    #[schema(minimum = 0, maximum = 1)]
    native: Option<u8>,
    /// `CreateBrokers`: 1 if clients may look, and do nothing.
    #[param(minimum = 0, maximum = 1)]
    #[schema(minimum = 0, maximum = 1)]
    view_only: Option<u8>,
    /// `CreateBrokers`: 1 if a broker that is open already for the same is as good.
    #[param(minimum = 0, maximum = 1)]
    #[schema(minimum = 0, maximum = 1)]
    reuse: Option<u8>,
    /// Of what is described: at most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 20)]
    #[schema(minimum = 1, maximum = 1000, default = 20)]
    limit: Option<u32>,
    /// Of what is described: behind so many.
    offset: Option<u32>,
}

/// It was done.
#[derive(Serialize, ToSchema)]
#[schema(as = ActionDone)]
pub struct Done {
    /// The action and `Response`.
    pub action: String,
    /// 0.
    pub ret_code: u16,
    /// What was asked for.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What was asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ActionAnswer)]
pub enum Answer {
    /// Of `CreateBrokers`: in the order of `instances.N`, with their tickets.
    Created {
        /// The brokers.
        #[schema(min_items = 1)]
        broker_set: Vec<CreatedBroker>,
    },
    /// Of `DescribeBrokers`.
    Brokers {
        /// In the order of their ids.
        broker_set: Vec<BrokerView>,
        /// How many there are without `limit` and `offset`.
        total_count: u64,
    },
    /// Of `DeleteBrokers`.
    Deleted {
        /// The ids of those that were closed.
        brokers: Vec<String>,
    },
    /// Of `DescribeInstances`.
    Instances {
        /// In the order of their ids.
        instance_set: Vec<Instance>,
        /// How many there are without `limit` and `offset`.
        total_count: u64,
    },
}

/// An instance, as the cloud shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = ActionInstance)]
pub struct Instance {
    instance_id: String,
    /// Name or address of the hypervisor.
    host: String,
    /// TCP port of the console.
    graphics_port: u16,
    /// What the console speaks.
    #[schema(value_type = crate::broker::Protocol)]
    graphics_protocol: String,
    /// Only where the gateway has `reveal_passwords = true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    graphics_passwd: Option<String>,
    extra: Extra,
}

/// What the cloud has one level deeper.
#[derive(Serialize, ToSchema)]
#[schema(as = ActionInstanceExtra)]
pub struct Extra {
    /// `kvm` or `lxc`.
    hypervisor: String,
}

impl Instance {
    /// What is shown of a row; with `reveal`, its password too.
    pub fn new(row: InstanceRow, reveal: bool) -> Self {
        let InstanceRow { instance_id, hypervisor, host, graphics_port, graphics_protocol, .. } = row;
        let graphics_passwd = revealed(row.graphics_passwd, reveal);
        let extra = Extra { hypervisor };
        Self { instance_id, host, graphics_port, graphics_protocol, graphics_passwd, extra }
    }
}

/// It was not done.
#[derive(Serialize, ToSchema)]
#[schema(as = ActionRefused)]
pub struct Refused<'a> {
    /// The action and `Response`; empty where it is not known.
    pub action: String,
    /// A number for each `code`, never 0.
    #[schema(minimum = 1)]
    pub ret_code: u16,
    /// For programs; stable.
    pub code: &'static str,
    /// For people.
    pub message: &'a str,
}

/// What any action may answer.
pub struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let codes = [
            Code::BadRequest,
            Code::NotForm,
            Code::TooLarge,
            Code::Slow,
            Code::NoSuchCall,
            Code::NoInstance,
            Code::NoBroker,
            Code::BadInstance,
            Code::InstanceChanged,
            Code::NotOpened,
            Code::StoreUnavailable,
            Code::NoFreePort,
            Code::Stopping,
        ];
        refusals(&codes, "application/json", "ActionRefused")
    }
}
