//! What `vigilmon-agent check` can ask of HTTP alone, in the words of `vigilctl`.

use clap::Args;
use model::check::{HttpVersion, InvalidCheck};
use model::{Check, HttpCheck};

/// Options for http:// and https:// targets.
#[derive(Debug, Args)]
pub(crate) struct HttpOptions {
    /// Redirects to follow, up to 20; 0: a redirect is the answer that is judged; HTTP only [default: 5]
    #[arg(long, value_name = "COUNT")]
    max_redirects: Option<u8>,
    /// 1.1, or 2 for HTTP/2 and nothing else; HTTP only [default: 1.1]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    http_version: Option<HttpVersion>,
    /// Ask for compressed answers (gzip, deflate) and unpack them; HTTP only
    #[arg(long)]
    compressed: bool,
}

impl HttpOptions {
    /// Asks it of a check.
    ///
    /// # Errors
    /// Names what was given for a check that is not one of HTTP.
    pub(crate) fn apply(self, check: &mut Check) -> Result<(), InvalidCheck> {
        let given = [
            ("max_redirects", self.max_redirects.is_some()),
            ("http_version", self.http_version.is_some()),
            ("compressed", self.compressed),
        ];
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
        http.version = self.http_version.unwrap_or_default();
        http.compressed = self.compressed;
    }
}

fn version(text: &str) -> Result<HttpVersion, &'static str> {
    HttpVersion::parse(text).ok_or("must be 1.1 or 2")
}
