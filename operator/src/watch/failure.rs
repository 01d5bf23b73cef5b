//! Why a source cannot go on, and so what it does next.

use kube::Error;

use super::Absence;

/// Why an attempt of a source failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was seen last is compacted, or something cannot be read: list again.
    Expired,
    /// The server has no WatchList: list by pages.
    NoWatchList,
    /// There is nothing to be had for now: wait.
    Absent(Absence, String),
}

impl Failure {
    /// What an error means for a request that begins with a WatchList, or does not.
    pub fn new(error: &Error, begins_with_list: bool) -> Self {
        let status = match error {
            Error::Api(status) => status,
            Error::SerdeError(_) => return Self::Expired,
            other => return Self::Absent(Absence::Unreachable, other.to_string()),
        };
        let message = status.message.clone();
        match status.code {
            410 => Self::Expired,
            400 | 422 if begins_with_list => Self::NoWatchList,
            404 => Self::Absent(Absence::Missing, message),
            401 | 403 => Self::Absent(Absence::Denied, message),
            _ => Self::Absent(Absence::Unreachable, message),
        }
    }

    /// The API server says nothing.
    pub fn silence() -> Self {
        Self::Absent(Absence::Unreachable, "the API server does not answer".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[track_caller]
    fn check(code: u16, begins_with_list: bool, expected: &Failure) {
        let error = Error::Api(Status { code, message: "why".to_owned(), ..Status::default() }.boxed());
        assert_eq!(Failure::new(&error, begins_with_list), *expected, "{code}");
    }

    #[test]
    fn each_answer_has_its_consequence() {
        let absent = |absence| Failure::Absent(absence, "why".to_owned());
        check(410, false, &Failure::Expired);
        check(422, true, &Failure::NoWatchList);
        check(422, false, &absent(Absence::Unreachable));
        check(404, true, &absent(Absence::Missing));
        check(403, true, &absent(Absence::Denied));
        check(401, false, &absent(Absence::Denied));
        check(503, true, &absent(Absence::Unreachable));
        check(429, false, &absent(Absence::Unreachable));
    }
}
