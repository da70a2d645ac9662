//! What an event makes of a room. Whether it was allowed was decided before it was stored; here it is a fact.

use rookery_protocol::id::UserId;

use super::{DECLARER, Edit, Facts, Profile, Role, State, Update, dedupe, state::Ban};
use crate::record::{Body, Event, MemberChange, MemberChanged, Posted, RoomChanged};

/// Expired sanctions and old posting times are swept whenever a table has grown to a multiple of this.
const SWEEP_EVERY: usize = 256;

impl State {
    /// Applies the next event. Depends on nothing but the state and the event.
    pub fn apply(&mut self, event: &Event) {
        self.last_seq += 1;
        self.last_ts = event.ts;
        let (seq, ts) = (self.last_seq, event.ts);
        match &event.body {
            Body::Posted(posted) => self.posted(posted, ts),
            Body::Edited { message_seq, text, mentions } => {
                for user in mentions {
                    self.mention(*user, *message_seq);
                }
                let edit = || Edit { text: text.clone(), at: ts, mentions: mentions.clone() };
                self.heads.touch(*message_seq, seq, &self.limits, |a| a.edit(seq, edit()));
            }
            Body::Deleted { message_seq } => {
                self.heads.touch(*message_seq, seq, &self.limits, |a| a.delete(seq));
            }
            Body::Reacted(r) => {
                let user = event.actor;
                self.heads.touch(r.message_seq, seq, &self.limits, |a| a.react(seq, &r.emoji, user));
            }
            Body::Unreacted(r) => {
                let user = event.actor;
                self.heads.touch(r.message_seq, seq, &self.limits, |a| a.unreact(seq, &r.emoji, user));
            }
            Body::Member(member) => self.member_changed(member, event.actor, ts),
            Body::Room(room) => self.room_changed(room, event.actor, ts),
        }
    }

    fn posted(&mut self, posted: &Posted, ts: i64) {
        let (seq, sender) = (self.last_seq, posted.sender.id);
        self.messages += 1;
        for user in &posted.mentions {
            self.mention(*user, seq);
        }
        let content = dedupe::content(&posted.text, posted.reply_to);
        self.dedupe.remember((sender, &posted.client_msg_id), (content, posted.id), (seq, ts), &self.limits);
        self.note_slow_mode(sender, ts);
        self.heads.posted(seq, sender, &self.limits);
    }

    fn mention(&mut self, user: UserId, seq: u64) {
        if self.members.role(user).is_some() {
            self.mentions.add(user, seq);
        }
    }

    fn note_slow_mode(&mut self, sender: UserId, ts: i64) {
        let pause = self.facts.as_ref().map_or(0, |f| i64::from(f.slow_mode_seconds) * 1000);
        if pause == 0 {
            return;
        }
        self.last_posts.insert(sender, ts);
        if self.last_posts.len().is_multiple_of(SWEEP_EVERY) {
            self.last_posts.retain(|_, at| *at > ts - pause);
        }
    }

    fn member_changed(&mut self, member: &MemberChanged, by: UserId, ts: i64) {
        let user = &member.user;
        let named = matches!(member.change, MemberChange::Added | MemberChange::RoleChanged);
        if named && by == DECLARER {
            self.declared.insert(user.id);
        }
        match member.change {
            MemberChange::Joined | MemberChange::Added => {
                self.members.put(user, member.role.unwrap_or(Role::Member));
            }
            MemberChange::RoleChanged => {
                if let Some(role) = member.role {
                    self.members.set_role(user.id, role);
                }
            }
            MemberChange::Left | MemberChange::Kicked => self.gone(user.id),
            MemberChange::Banned => self.ban(user, member.until, ts),
            MemberChange::Unbanned => {
                self.bans.remove(&user.id);
            }
            MemberChange::Muted => self.mute(user.id, member.until, ts),
            MemberChange::Unmuted => {
                self.mutes.remove(&user.id);
            }
        }
    }

    fn gone(&mut self, user: UserId) {
        self.members.remove(user);
        self.declared.remove(&user);
        self.mentions.forget(user);
    }

    fn ban(&mut self, user: &Profile, until: Option<i64>, ts: i64) {
        self.gone(user.id);
        if self.bans.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.bans.retain(|_, ban| ban.until.is_none_or(|until| until > ts));
        }
        let ban = Ban {
            until,
            username: user.username.as_str().into(),
            display_name: user.display_name.as_str().into(),
        };
        self.bans.insert(user.id, ban);
    }

    /// A mute outlives leaving and coming again.
    fn mute(&mut self, user: UserId, until: Option<i64>, ts: i64) {
        if self.mutes.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.mutes.retain(|_, until| until.is_none_or(|until| until > ts));
        }
        self.mutes.insert(user, until);
    }

    fn room_changed(&mut self, room: &RoomChanged, by: UserId, ts: i64) {
        match room {
            RoomChanged::Created { name, topic, visibility, kind, members } => {
                self.facts = Some(Facts {
                    name: name.clone(),
                    topic: topic.clone(),
                    kind: *kind,
                    visibility: *visibility,
                    slow_mode_seconds: 0,
                    translation: true,
                    max_members: None,
                    retention_days: None,
                    declared: false,
                    created_at: ts,
                });
                for (user, role) in members {
                    self.members.put(user, *role);
                    if by == DECLARER {
                        self.declared.insert(user.id);
                    }
                }
            }
            RoomChanged::Updated(update) => self.updated(update),
            RoomChanged::Removed => self.removed = true,
        }
    }

    fn updated(&mut self, update: &Update) {
        let Some(facts) = &mut self.facts else { return };
        if let Some(name) = &update.name {
            facts.name.clone_from(name);
        }
        if let Some(topic) = &update.topic {
            facts.topic = Some(topic.clone()).filter(|t| !t.is_empty());
        }
        facts.visibility = update.visibility.unwrap_or(facts.visibility);
        facts.translation = update.translation.unwrap_or(facts.translation);
        facts.declared = update.declared.unwrap_or(facts.declared);
        if let Some(most) = update.max_members {
            facts.max_members = Some(most).filter(|most| *most > 0);
        }
        if let Some(days) = update.retention_days {
            facts.retention_days = Some(days).filter(|days| *days > 0);
        }
        if let Some(seconds) = update.slow_mode_seconds {
            facts.slow_mode_seconds = seconds;
            if seconds == 0 {
                self.last_posts.clear();
            }
        }
    }
}
