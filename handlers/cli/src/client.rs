//! How a command reaches the system: over HTTP where an engine runs; in this process where the data folder is at rest, and
//! over the adapters of AWS for a stack there. All ways ask the same API.

#[cfg(feature = "aws")]
use crate::aws::Aws;
use crate::{
    App,
    access::Access,
    error::CommandError,
    node::Node,
    target::{Place, Target},
    token,
};
use quadrille::{
    http::Request,
    http_client::{HttpClient, HttpStream, Method, parse_url},
    local,
    operator::Api,
    server::Service as _,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};

/// The longest a request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer a command reads, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an engine tells of its work, in pieces.
pub type Events = HttpStream;

/// Largest answer that is read where events were asked for, in bytes.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// A way to the API.
pub enum Client {
    /// Over HTTP.
    Remote { http: Box<HttpClient>, base: String, token: Option<String> },
    /// In this process; the node keeps the folder open.
    Local { api: Api, _node: Box<Node> },
    /// In this process, over the adapters of AWS.
    #[cfg(feature = "aws")]
    Aws(Box<Aws>),
}

/// An answer of the API.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Who answered.
    by: &'static str,
}

impl Answer {
    /// The answer's JSON.
    ///
    /// # Errors
    /// An answer that is not of 2xx, as the error it tells of.
    pub fn ok<T: DeserializeOwned>(self) -> Result<T, CommandError> {
        if !(200..300).contains(&self.status) {
            return Err(self.refused());
        }
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The error that a problem tells of.
    pub fn refused(&self) -> CommandError {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no detail was given");
        let text = format!("{} answered {}: {}", self.by, self.status, quadrille::excerpt(detail, 500));
        match self.status {
            404 => CommandError::NotFound(text),
            400..500 => CommandError::Refused(text),
            // Of a handler that ran here: AWS grants no permission; which one, the text says.
            _ if problem["type"] == "/problems/port_denied" => CommandError::Refused(text),
            _ => CommandError::Failed(text),
        }
    }
}

impl Client {
    /// The client that `target` names.
    ///
    /// # Errors
    /// [`CommandError::OutOfReach`] where nobody answers, [`CommandError::NotFound`] where there is no data folder or no
    /// stack, [`CommandError::Refused`] where it is another system's, [`CommandError::Usage`] for options that don't fit
    /// together.
    pub async fn open(app: &App<'_>, target: &Target, access: Access<'_>) -> Result<Self, CommandError> {
        let named = target.stack.is_some() || target.settings.is_some();
        match (target.place, named) {
            (Place::Local, false) => Self::local(app, target, access).await,
            (Place::Local, true) => {
                let text = "--stack and --settings are for a stack on AWS: say --target aws as well";
                Err(CommandError::Usage(text.to_owned()))
            }
            (Place::Aws, false) => {
                let text =
                    "--target aws needs --stack NAME, or --settings FILE with the names of its resources";
                Err(CommandError::Usage(text.to_owned()))
            }
            (Place::Aws, true) => Self::aws(app, target, access).await,
        }
    }

    #[cfg(feature = "aws")]
    async fn aws(app: &App<'_>, target: &Target, access: Access<'_>) -> Result<Self, CommandError> {
        Ok(Self::Aws(Box::new(Aws::open(app, target, access).await?)))
    }

    #[cfg(not(feature = "aws"))]
    async fn aws(_: &App<'_>, _: &Target, _: Access<'_>) -> Result<Self, CommandError> {
        let text = "this command was built without AWS: build it with the feature `aws`, `cargo build --release --features aws`";
        Err(CommandError::Usage(text.to_owned()))
    }

    async fn local(app: &App<'_>, target: &Target, access: Access<'_>) -> Result<Self, CommandError> {
        let token = token::text(target.token_file.as_deref())?;
        if let Some(url) = &target.url {
            let client = Self::remote(url, token)?;
            client.is_of(app).await?;
            return Ok(client);
        }
        if !target.data.is_dir() {
            let folder = target.data.display();
            return Err(CommandError::NotFound(format!(
                "there is no data folder {folder}: start an engine with {}, or name one with --data or --url",
                app.typed("up")
            )));
        }
        let opened = match access {
            Access::Looks => Node::to_look(&target.data, &app.choreography),
            Access::Tries => Node::to_try(&target.data, app),
            Access::Changes => Node::at_rest(&target.data, &app.choreography),
            Access::Operates => Node::to_operate(&target.data, app),
            Access::Answers(step) => Node::to_answer(&target.data, app, step),
        };
        match opened {
            Ok(node) => Ok(Self::Local { api: Api::new(node.pipeline()), _node: Box::new(node) }),
            Err(error) => match local::address(&target.data) {
                Some(address) => {
                    let client = Self::remote(&format!("http://{address}"), token)?;
                    client.is_of(app).await?;
                    Ok(client)
                }
                None => Err(error),
            },
        }
    }

    /// Whether the engine runs the system that is meant.
    async fn is_of(&self, app: &App<'_>) -> Result<(), CommandError> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let Named { name } = self.get("/_quadrille/system").await?;
        let wanted = app.system.name();
        if name == wanted {
            return Ok(());
        }
        Err(CommandError::Refused(format!(
            "the engine runs {:?} and not {wanted:?}: name another engine, or the other system",
            quadrille::excerpt(&name, 100)
        )))
    }

    /// Whether nobody runs what is sent: it is a folder that no engine holds.
    pub fn is_at_rest(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    /// A client of the engine at `url`.
    ///
    /// # Errors
    /// [`CommandError::Usage`] for a URL that is none.
    pub fn remote(url: &str, token: Option<String>) -> Result<Self, CommandError> {
        let base = url.trim_end_matches('/').to_owned();
        parse_url(&base).map_err(|error| CommandError::Usage(format!("--url: {error}")))?;
        Ok(Self::Remote { http: Box::new(HttpClient::new(TIMEOUT)?), base, token })
    }

    /// Asks the API.
    ///
    /// # Errors
    /// [`CommandError::OutOfReach`] where no answer comes.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, CommandError> {
        match self {
            Self::Remote { http, base, token } => {
                let authorization = bearer(token.as_deref());
                let mut headers = vec![("content-type", "application/json")];
                headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
                let (status, body) =
                    http.send(method, &format!("{base}{path}"), &headers, body, ANSWER_BYTES_MAX).await?;
                Ok(Answer { status, body, by: "the engine" })
            }
            Self::Local { api, .. } => Ok(in_process(api, "the engine", method, path, body).await),
            #[cfg(feature = "aws")]
            Self::Aws(aws) => Ok(in_process(aws.api(), "the stack", method, path, body).await),
        }
    }

    /// What an engine works, as it tells it from `cursor` on.
    ///
    /// # Errors
    /// As [`get`](Self::get), and where no engine is asked.
    pub async fn events(&self, cursor: Option<&str>) -> Result<Events, CommandError> {
        let Self::Remote { http, base, token } = self else {
            return Err(CommandError::OutOfReach("no engine runs".to_owned()));
        };
        let authorization = bearer(token.as_deref());
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        headers.extend(cursor.map(|cursor| ("last-event-id", cursor)));
        let mut events = http.stream(&format!("{base}/_quadrille/events"), &headers).await?;
        if events.status() == 200 {
            return Ok(events);
        }
        let mut body = Vec::new();
        while let Some(piece) = events.next().await?
            && body.len() + piece.len() <= PROBLEM_BYTES_MAX
        {
            body.extend_from_slice(&piece);
        }
        Err(Answer { status: events.status(), body, by: "the engine" }.refused())
    }

    /// GET, as JSON.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and an answer that is not of 2xx.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandError> {
        self.ask(Method::GET, path, None).await?.ok()
    }

    /// POST of JSON, as JSON.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and an answer that is not of 2xx.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, CommandError> {
        self.ask(Method::POST, path, Some(serde_json::to_vec(body)?)).await?.ok()
    }
}

/// What `Authorization` says.
fn bearer(token: Option<&str>) -> Option<String> {
    token.map(|token| format!("Bearer {token}"))
}

/// Asks the API in this process.
async fn in_process(
    api: &Api,
    by: &'static str,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Answer {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let request = Request {
        query: query.to_owned(),
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: body.unwrap_or_default().into(),
        ..Request::default()
    };
    let response = api.respond(method.as_str(), path, request).await;
    Answer { status: response.status, body: response.body, by }
}

/// A part of a path or query, percent-encoded.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
