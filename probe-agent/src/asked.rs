//! What `vigilmon-agent check` can ask of HTTP alone, in the words of `vigilctl`.

use clap::Args;
use model::check::InvalidCheck;
use model::{Check, HttpCheck};

/// Options for http:// and https:// targets.
#[derive(Debug, Args)]
pub(crate) struct HttpOptions {
    /// Redirects to follow, up to 20; 0: a redirect is the answer that is judged; HTTP only [default: 5]
    #[arg(long, value_name = "COUNT")]
    max_redirects: Option<u8>,
}

impl HttpOptions {
    /// Asks it of a check.
    ///
    /// # Errors
    /// Names what was given for a check that is not one of HTTP.
    pub(crate) fn apply(self, check: &mut Check) -> Result<(), InvalidCheck> {
        let given = [("max_redirects", self.max_redirects.is_some())];
        match (check, given.into_iter().find(|(_, is_given)| *is_given)) {
            (Check::Http(http), _) => self.set(http),
            (_, Some((field, _))) => {
                let problem = "is for http:// and https:// only".to_owned();
                return Err(InvalidCheck { field, problem });
            }
            (_, None) => {}
        }
        Ok(())
    }

    fn set(self, http: &mut HttpCheck) {
        if let Some(max) = self.max_redirects {
            http.max_redirects = max;
        }
    }
}
