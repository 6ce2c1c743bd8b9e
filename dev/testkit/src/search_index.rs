//! The search of a registry that is like Docker Hub: `/v1/search` alone.

use std::ops::Deref;

use serde_json::{Value, json};

use crate::http::{Hooks, Request, Response, Server, Service};

/// A running index; it ends with this value.
pub struct SearchIndex(Server<Known>);

struct Known(Vec<Value>);

impl SearchIndex {
    /// Starts an index with some repositories: name, description, stars, whether it is official.
    pub fn start(repositories: &[(&str, &str, u32, bool)]) -> SearchIndex {
        let one = |(name, description, stars, is_official): &(&str, &str, u32, bool)| {
            json!({
                "name": name,
                "description": description,
                "star_count": stars,
                "is_official": is_official,
                "is_automated": false,
            })
        };
        let all = repositories.iter().map(one).collect();
        SearchIndex(Server::start(false, |_| Known(all)))
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.0.address().to_string()
    }
}

impl Deref for SearchIndex {
    type Target = Hooks;

    fn deref(&self) -> &Hooks {
        self.0.hooks()
    }
}

impl Service for Known {
    fn answer(&self, request: &Request) -> Response {
        if request.path() != "/v1/search" {
            return Response::error(404, "NOT_FOUND");
        }
        let term = request.query("q").pop().unwrap_or_default();
        let limit: usize = request.query("n").pop().and_then(|n| n.parse().ok()).unwrap_or(25);
        let fits = |one: &&Value| one["name"].as_str().unwrap().contains(&term);
        let results: Vec<&Value> = self.0.iter().filter(fits).take(limit).collect();
        let body = json!({"num_results": results.len(), "query": term, "results": results});
        Response::new(200)
            .with("content-type", "application/json")
            .body(body.to_string().into_bytes())
    }
}
