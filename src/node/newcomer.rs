//! A node that wants to become a member, and whether the members leave room for it.

use super::addresses::{check_name, check_peer, check_url};
use crate::api::AddMember;
use crate::raft::MemberState;
use serde::{Deserialize, Serialize};

/// Most members, including learners. Each member costs every other node connections, and the leader a copy of each
/// entry.
const MEMBERS_MAX: usize = 32;

/// [`AddMember`] without its JSON attributes, which postcard does not support.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AddMemberMessage {
    pub name: Option<String>,
    pub http: String,
    pub peer: String,
    pub store_uuid: String,
    pub feature_level: u32,
}

impl From<AddMember> for AddMemberMessage {
    fn from(request: AddMember) -> Self {
        let AddMember { name, http, peer, store_uuid, feature_level, replace_silent_ms: _ } = request;
        Self { name, http, peer, store_uuid, feature_level }
    }
}

impl AddMemberMessage {
    /// Whether its fields are valid.
    ///
    /// # Errors
    /// A sentence: a field is not valid.
    pub fn check(&self) -> Result<(), String> {
        check_peer(&self.peer)?;
        check_url(&self.http)?;
        self.name.as_deref().map_or(Ok(()), check_name)?;
        uuid::Uuid::parse_str(&self.store_uuid).map_err(|_| "store_uuid: expected a UUID".to_owned())?;
        Ok(())
    }

    /// Whether it can be added to these members.
    ///
    /// # Errors
    /// A sentence: these members leave no room for the node, or one of them has its name or its addresses.
    pub fn refuse_taken<'a>(
        &self,
        members: impl Iterator<Item = &'a MemberState> + Clone,
    ) -> Result<(), String> {
        let lost = |name: &str| {
            format!(
                "if its data folder is lost, `lockstep member replace {name}` lets an empty one take its place"
            )
        };
        let has = |wanted: &dyn Fn(&MemberState) -> bool| members.clone().find(|other| wanted(other));
        if let Some(other) = has(&|other| Some(&other.member.name) == self.name.as_ref()) {
            let name = &other.member.name;
            return Err(format!(
                "there is a member named {name} already, with another data folder; {}",
                lost(name)
            ));
        }
        if members.clone().count() >= MEMBERS_MAX {
            return Err(format!("a cluster has at most {MEMBERS_MAX} members"));
        }
        if let Some(other) = has(&|other| !self.http.is_empty() && other.member.http == self.http) {
            let (name, http) = (&other.member.name, &self.http);
            return Err(format!("member {name} has the URL {http} already; {}", lost(name)));
        }
        if let Some(other) = has(&|other| other.member.peer == self.peer) {
            let (name, peer) = (&other.member.name, &self.peer);
            return Err(format!("member {name} has the peer address {peer} already; {}", lost(name)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Member;

    fn newcomer(name: &str, port: u16) -> AddMemberMessage {
        AddMemberMessage {
            name: Some(name.into()),
            http: format!("http://h:{port}"),
            peer: format!("h:{}", port + 1_000),
            store_uuid: uuid::Uuid::new_v4().to_string(),
            feature_level: 1,
        }
    }

    fn member(id: u64, name: &str, port: u16) -> MemberState {
        let AddMemberMessage { http, peer, store_uuid, .. } = newcomer(name, port);
        let member = Member { name: name.into(), http, peer, store_uuid };
        MemberState { id, member, voter: true, matched: None, silent_ms: None }
    }

    #[test]
    fn a_taken_name_comes_first_because_it_can_be_replaced() {
        let members = [member(1, "n1", 1), member(2, "n2", 2)];
        let refused = |node: AddMemberMessage| node.refuse_taken(members.iter()).unwrap_err();
        assert!(refused(newcomer("n2", 2)).contains("named n2"));
        assert!(refused(newcomer("n2", 2)).contains("`lockstep member replace n2`"));
        assert!(refused(newcomer("n3", 2)).contains("member n2 has the URL"));
        let peer_only = AddMemberMessage { http: "http://x:9".into(), ..newcomer("n3", 2) };
        assert!(refused(peer_only).contains("member n2 has the peer address"));
        assert_eq!(newcomer("n3", 3).refuse_taken(members.iter()), Ok(()));
        let without_n2 = members.iter().filter(|other| other.id != 2);
        assert_eq!(newcomer("n2", 2).refuse_taken(without_n2), Ok(()));
    }
}
