//! Outbound requests without a mesh listener in the configuration: the answer of an assumed one.

use std::net::{Ipv4Addr, SocketAddr};

use super::answer::{Answer, RouteVerdict};
use super::ask::{BadQuestion, Question};
use super::trace::explain;
use crate::istio::world::World;
use crate::plan::{self, ListenerKind, Plan};

/// Where the README and Istio have it.
const MESH: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 15001);

/// Explains by the plan of this world, or, if that has no listener for the request, by its plan with a mesh listener: a
/// rule for the mesh can be explained before the listener exists.
///
/// # Errors
/// See [`explain`].
pub fn explain_world(world: &World, plan: &Plan, question: &Question) -> Result<Answer, BadQuestion> {
    let mut answer = with_mesh(world, plan, question)?;
    answer.note_withheld(world);
    Ok(answer)
}

fn with_mesh(world: &World, plan: &Plan, question: &Question) -> Result<Answer, BadQuestion> {
    let asked = explain(plan, &world.hidden(), question);
    if plan.listeners.iter().any(|listener| listener.kind == ListenerKind::Mesh) {
        return asked;
    }
    let named = question.gateway.as_deref() == Some("mesh");
    if !named && !matches!(asked, Err(BadQuestion::NoListener | BadQuestion::NoSuchPort(..))) {
        return asked;
    }
    let mut world = world.clone();
    world.proxy.mesh_listen = Some(SocketAddr::from(MESH));
    let (plan, _) = plan::compile(&world, plan.proxy.clone());
    let question = Question { gateway: Some("mesh".to_owned()), ..question.clone() };
    let mut answer = match explain(&plan, &world.hidden(), &question) {
        Ok(answer) if named || is_declared(&answer) => answer,
        Err(error) if named => return Err(error),
        Ok(_) | Err(_) => return asked,
    };
    answer
        .notes
        .push("no mesh listener is configured (spec.mesh.listen of the Proxy): this is what one would do".to_owned());
    Ok(answer)
}

/// Whether a rule or a service is there for it.
fn is_declared(answer: &Answer) -> bool {
    match answer.verdict {
        RouteVerdict::Forward { .. }
        | RouteVerdict::Redirect { .. }
        | RouteVerdict::HttpsRedirect { .. }
        | RouteVerdict::DirectResponse { .. }
        | RouteVerdict::Tunnel { .. } => true,
        RouteVerdict::Passthrough | RouteVerdict::Blackhole { .. } | RouteVerdict::NotFound | RouteVerdict::Closed => {
            false
        }
    }
}
