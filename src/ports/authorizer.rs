//! The authorizer port: who is calling over HTTP, and what they may see and do.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use http::request::Parts;

use crate::ground::account::{Account, Mode};
use crate::ground::error::Result;

/// Says of each request who acts, in which accounts and mode, and what they may do.
///
/// The crate knows no passwords and no sessions: the host mounts the router behind its own login, which
/// leaves what it found in the request's extensions, or has a header or cookie that is read here.
///
/// # Contract
/// - `None`: nobody is logged in. The answer is 401.
/// - An error, a panic, or no answer in 10 s denies the request: with 503 where the error
///   [may pass](crate::Error::is_retryable) or time ran out, else with 403. Its text goes to the log, not
///   to the caller.
/// - It is asked once for every request, before anything of the request's body is read. What it answers
///   holds for this request alone.
///
/// ```
/// use tidings::api::{Actor, Permission, authorizer_fn};
///
/// #[derive(Clone)]
/// struct Session {
///     user: String,
/// }
///
/// let authorizer = authorizer_fn(|request| {
///     let session = request.extensions.get::<Session>();
///     Ok(session.map(|session| Actor::new(&session.user).may([Permission::Manage])))
/// });
/// ```
#[async_trait]
pub trait Authorizer: Debug + Send + Sync + 'static {
    /// Who sends this request.
    ///
    /// # Errors
    /// When it cannot be told. The request is denied.
    async fn authorize(&self, request: &Parts) -> Result<Option<Actor>>;
}

/// An authorizer made of a closure that answers at once.
pub fn authorizer_fn<F>(authorize: F) -> impl Authorizer
where
    F: Fn(&Parts) -> Result<Option<Actor>> + Send + Sync + 'static,
{
    AuthorizerFn(authorize)
}

struct AuthorizerFn<F>(F);

impl<F> Debug for AuthorizerFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorizerFn")
    }
}

#[async_trait]
impl<F> Authorizer for AuthorizerFn<F>
where
    F: Fn(&Parts) -> Result<Option<Actor>> + Send + Sync + 'static,
{
    async fn authorize(&self, request: &Parts) -> Result<Option<Actor>> {
        (self.0)(request)
    }
}

/// What somebody may do beside looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// Create, edit, enable, disable and delete webhooks, and send them test events.
    Manage,
    /// See secrets, and rotate them.
    Reveal,
    /// Publish events, deliver again, replay.
    Operate,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Manage, Self::Reveal, Self::Operate];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::Reveal => "reveal",
            Self::Operate => "operate",
        }
    }
}

/// Who acts, and what is within their reach. Whatever is not looks as if it did not exist.
///
/// ```
/// use tidings::api::{Actor, Permission};
/// use tidings::{Account, Mode};
///
/// let customer = Actor::new("alice")
///     .accounts([Account::new("acme")?])
///     .mode(Mode::Live)
///     .may([Permission::Manage, Permission::Reveal]);
/// let operator = Actor::new("bob").all_accounts().may(Permission::ALL);
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Actor {
    user: String,
    accounts: Option<BTreeSet<Account>>,
    mode: Option<Mode>,
    permissions: BTreeSet<Permission>,
}

impl Actor {
    /// Somebody of this name, which they type to confirm (seed row W28). They may look at the
    /// [default account](Account::default), in both modes, and do nothing.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            accounts: Some([Account::default()].into()),
            mode: None,
            permissions: BTreeSet::new(),
        }
    }

    /// Within reach are these accounts, and no other.
    pub fn accounts(mut self, accounts: impl IntoIterator<Item = Account>) -> Self {
        self.accounts = Some(accounts.into_iter().collect());
        self
    }

    /// Within reach is every account.
    pub fn all_accounts(mut self) -> Self {
        self.accounts = None;
        self
    }

    /// Within reach is this mode alone.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Lets them do this, too.
    pub fn may(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.permissions.extend(permissions);
        self
    }

    /// Their name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The accounts within reach; `None`: all.
    pub fn reach(&self) -> Option<&BTreeSet<Account>> {
        self.accounts.as_ref()
    }

    /// The mode within reach; `None`: both.
    pub fn only_mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Whether they may do this.
    pub fn can(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Whether what is of this account and mode is within reach.
    pub fn reaches(&self, account: &Account, mode: Mode) -> bool {
        self.reaches_account(account) && self.mode.is_none_or(|only| only == mode)
    }

    /// Whether this account is within reach.
    pub fn reaches_account(&self, account: &Account) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.contains(account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for accounts and modes of actors with each kind of reach (table).
    #[test]
    fn what_is_not_named_is_out_of_reach() {
        let (acme, other) = (Account::new("acme").unwrap(), Account::new("other").unwrap());
        let alice = || Actor::new("alice");
        for (actor, account, mode, reaches) in [
            (alice(), &Account::default(), Mode::Test, true),
            (alice(), &acme, Mode::Live, false),
            (alice().accounts([acme.clone()]), &acme, Mode::Live, true),
            (alice().accounts([acme.clone()]), &Account::default(), Mode::Live, false),
            (alice().accounts([acme.clone()]), &other, Mode::Live, false),
            (alice().accounts([]), &acme, Mode::Live, false),
            (alice().all_accounts(), &other, Mode::Test, true),
            (alice().all_accounts().mode(Mode::Live), &other, Mode::Test, false),
            (alice().all_accounts().mode(Mode::Live), &other, Mode::Live, true),
        ] {
            assert_eq!(actor.reaches(account, mode), reaches, "{actor:?} {account} {mode:?}");
        }
    }

    /// Asks for every permission of actors with none, one and all.
    #[test]
    fn nobody_may_what_nobody_allowed() {
        assert!(Permission::ALL.iter().all(|permission| !Actor::new("a").can(*permission)));
        let one = Actor::new("a").may([Permission::Manage]);
        assert!(one.can(Permission::Manage) && !one.can(Permission::Reveal));
        let all = Actor::new("a").may(Permission::ALL);
        assert!(Permission::ALL.iter().all(|permission| all.can(*permission)));
    }
}
