#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <utility>

#include "lbcluster/base/time.hpp"
#include "page.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

std::string rtt_text(std::uint64_t rtt_us) {
    if (rtt_us == 0) {
        return "";
    }
    std::array<char, 32> out{};
    std::snprintf(out.data(), out.size(), "rtt %.2f ms", static_cast<double>(rtt_us) / 1000.0);
    return out.data();
}

Level level_of_link(const std::string& state) {
    return state == "up" ? Level::good : state == "one-way" ? Level::warning : Level::bad;
}

void add_head(Page& page, const StatusView& view) {
    const auto summary = summarize(view);
    if (view.node) {
        const auto& node = *view.node;
        const std::string link = node.link().empty() ? "none" : harmless(node.link());
        const Level activity =
            node.activity() == "active" || node.activity() == "passive" ? Level::good : Level::warning;
        page.line("  " + page.paint("1", clip(harmless(node.name()), 30)) + "   " +
                  clip(upper(harmless(node.role())), 12) + " | " +
                  page.paint(activity, clip(upper(harmless(node.activity())), 12)) + " | " +
                  page.paint(link == "down" ? Level::bad : Level::good, "LINK " + clip(upper(link), 8)));
        if (node.since_ms() != 0) {
            const std::uint64_t age = view.now_ms > node.since_ms() ? view.now_ms - node.since_ms() : 0;
            std::string since = format_rfc3339(node.since_ms());
            since = since.substr(0, 10) + " " + since.substr(11, 8) + " UTC";
            page.line("  " + page.paint("2", "since " + since + " (" + age_text(age) + "), term " +
                                                 std::to_string(node.term())));
        }
    } else {
        page.line("  " + page.paint(Level::bad, "HEARTBEAT DOES NOT RUN | LINK DOWN"));
    }
    page.line();
    for (const auto& part : wrap(summary.text, page.width() - 2)) {
        page.line("  " + page.paint(summary.level, part));
    }
    if (view.node && !view.node->reason().empty()) {
        for (const auto& part : wrap("Reason: " + harmless(view.node->reason()), page.width() - 2)) {
            page.line("  " + page.paint("2", part));
        }
    }
    page.line();
}

void add_peer(Page& page, const bus::PeerStatus& peer) {
    if (peer.state().empty() || peer.state() == "none") {
        return page.row("Peer", "none");
    }
    std::string text = harmless(peer.name());
    for (const auto* part : {&peer.role(), &peer.activity()}) {
        text += part->empty() ? "" : ", " + harmless(*part);
    }
    text += ", " + harmless(peer.state());
    text += peer.heard() ? ", heard " + age_text(peer.last_heard_ms()) + " ago" : ", never heard";
    page.wrapped("Peer", text, peer.state() == "alive" ? Level::good : Level::bad);
}

void add_links(Page& page, const bus::NodeStatus& node) {
    if (node.links().empty()) {
        page.row("Links", "none");
    }
    std::string label = "Links";
    std::size_t shown = 0;
    for (const auto& link : node.links()) {
        if (++shown > rows_shown_max) {
            page.row("", "... and " + std::to_string(node.links_size() - static_cast<int>(rows_shown_max)) + " more");
            break;
        }
        const std::string detail = link.error().empty() ? rtt_text(link.rtt_us()) : harmless(link.error());
        page.row(std::exchange(label, ""),
                 pad(clip(harmless(link.name()), 30), 31) + pad(clip(harmless(link.kind()), 6), 7) +
                     page.paint(level_of_link(link.state()), pad(clip(harmless(link.state()), 8), 9)) +
                     clip(detail, page.room() - 47));
    }
}

void add_ping_nodes(Page& page, const bus::NodeStatus& node) {
    if (node.ping_nodes().empty()) {
        return page.row("Ping nodes", "none");
    }
    std::string label = "Ping nodes";
    std::size_t shown = 0;
    for (const auto& ping : node.ping_nodes()) {
        if (++shown > rows_shown_max) {
            page.row("",
                     "... and " + std::to_string(node.ping_nodes_size() - static_cast<int>(rows_shown_max)) + " more");
            break;
        }
        const auto state = ping.reachable() ? page.paint(Level::good, "reachable        ")
                                            : page.paint(Level::bad, "does not answer  ");
        page.row(std::exchange(label, ""), pad(clip(harmless(ping.address()), 37), 38) + state +
                                               (ping.reachable() ? rtt_text(ping.rtt_us()) : ""));
    }
}

void add_floating_ips(Page& page, const bus::NodeStatus& node) {
    if (node.floating_ips().empty()) {
        return page.row("Floating IPs", "none");
    }
    const bool active = node.activity() == "active";
    std::vector<const bus::FloatingIpStatus*> ips;
    std::size_t held = 0;
    for (const auto& ip : node.floating_ips()) {
        ips.push_back(&ip);
        held += ip.held() ? 1 : 0;
    }
    // What is not as it should be stands on top.
    const auto odd = [&](const bus::FloatingIpStatus* ip) { return !ip->error().empty() || ip->held() != active; };
    std::stable_partition(ips.begin(), ips.end(), odd);
    page.row("Floating IPs", std::to_string(held) + " of " + std::to_string(ips.size()) + " held here");
    const std::size_t shown = std::min(ips.size(), rows_shown_max);
    std::size_t address_width = 0;
    for (std::size_t i = 0; i < shown; ++i) {
        address_width = std::max(address_width, std::min<std::size_t>(columns(harmless(ips[i]->address())), 30));
    }
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& ip = *ips[i];
        const std::string state = pad(ip.held() ? "held" : "not held", 10);
        page.row("", pad(clip(harmless(ip.address()), address_width), address_width + 2) +
                         pad(clip(harmless(ip.interface()), 9), 10) +
                         (odd(&ip) ? page.paint(Level::bad, state) : state) +
                         clip(harmless(ip.error()), page.room() - address_width - 22));
    }
    if (ips.size() > rows_shown_max) {
        page.row("", "... and " + std::to_string(ips.size() - rows_shown_max) + " more ('lbcluster status --json')");
    }
}

void add_alarms(Page& page, const StatusView& view) {
    const auto alarms = all_alarms(view);
    if (alarms.empty()) {
        return page.row("Alarms", page.paint(Level::good, "none"));
    }
    std::string label = "Alarms";
    for (const auto& alarm : alarms) {
        page.wrapped(std::exchange(label, ""), harmless(alarm.text()), Level::bad);
        if (!alarm.action().empty()) {
            page.wrapped("", "What to do: " + harmless(alarm.action()), Level::good);
        }
    }
}

void add_config(Page& page, const bus::ConfigStatus& config) {
    std::string text = "revision " + std::to_string(config.revision());
    if (!config.digest().empty()) {
        text += " (" + harmless(config.digest().substr(0, 12)) + ")";
    }
    page.row("Configuration", text + (config.error().empty() ? ", in force" : ""));
    if (!config.error().empty()) {
        page.wrapped("", "The newest files are not in force: " + harmless(config.error()), Level::bad);
    }
}

void add_replication(Page& page, const StatusView& view) {
    if (!view.replication || view.replication->state() == "none") return;
    const bus::ReplicationStatus& one = *view.replication;
    const bool good = one.state() == "in-sync";
    const Level level = good ? Level::good : one.state() == "behind" ? Level::warning : Level::bad;
    const std::string peer = harmless(one.peer()) + ", revision " + std::to_string(one.peer_revision()) + " there";
    page.row("Replication", page.paint(level, one.state()) + (one.connected() ? " with " + peer : ""));
    if (!good) page.wrapped("", harmless(one.error().empty() ? one.text() : one.error()), level);
}

void add_daemons(Page& page, const std::vector<DaemonView>& daemons) {
    std::string text;
    bool all = true;
    for (const auto& daemon : daemons) {
        text += (text.empty() ? "" : ", ") + daemon.name;
        text += !daemon.running ? " (does not run)" : daemon.stale ? " (does not answer)" : "";
        text += daemon.running && !daemon.version.empty() ? " " + harmless(daemon.version) : "";
        all = all && daemon.running && !daemon.stale;
    }
    page.wrapped("Daemons", text, all ? Level::good : Level::bad);
}

// Link up, or a second path: the peer talks to us.
Summary with_peer(const bus::NodeStatus& node, const std::string& peer) {
    const bool active = node.activity() == "active";
    const bool peer_active = node.peer().activity() == "active";
    if (active && peer_active) {
        return {Level::bad,
                "Both nodes say that they are active. One of them gives way by itself; if this lasts, see "
                "'lbcluster events'."};
    }
    if (active) {
        return node.peer().activity() == "standby"
                   ? Summary{Level::warning, "This node serves. The peer " + peer +
                                                 " is on standby by the operator's wish and would not take over."}
                   : Summary{Level::good,
                             "Both nodes are fine. This node serves, the peer " + peer + " is ready to take over."};
    }
    if (node.activity() == "standby") {
        return {peer_active ? Level::warning : Level::bad,
                std::string("This node is on standby by the operator's wish and will not take over. ") +
                    (peer_active ? "The peer " + peer + " serves." : "Nobody serves.") +
                    " 'lbcluster unstandby' ends that."};
    }
    if (peer_active) {
        return {Level::good,
                "This node is passive and fine: the peer " + peer + " serves, this node is ready to take over."};
    }
    return {Level::warning, "Neither node is active at the moment; the two are deciding who serves."};
}

Summary without_peer(const bus::NodeStatus& node, const std::string& peer) {
    const bool active = node.activity() == "active";
    if (node.peer().state() == "dead") {
        return active ? Summary{Level::warning, "This node serves after a failover: the peer " + peer +
                                                    " is dead. There is no one to take over from this node."}
                      : Summary{Level::bad, "The peer " + peer + " is dead and this node does not serve."};
    }
    const std::string unknown =
        "The link to the peer " + peer + " is down, so the peer's state is unknown: " +
        (active ? "the floating IPs may be up on both nodes." : "it may serve, or nobody does.");
    return {Level::bad, unknown + " Check the heartbeat network, and that heartbeat runs on the peer."};
}

}  // namespace

Summary summarize(const StatusView& view) {
    if (!view.node) {
        return {Level::bad,
                "Heartbeat does not run on this node, so the link is down for both nodes: this node holds no "
                "floating IP, and the peer cannot see it. Start it: systemctl start heartbeatd"};
    }
    const auto& node = *view.node;
    const std::string peer = node.peer().name().empty() ? "" : clip(harmless(node.peer().name()), 40);
    if (node.activity() == "starting") {
        return {Level::warning, "This node is starting and listens for the peer before it decides."};
    }
    if (node.link() == "none" || node.link().empty() || node.peer().state() == "none") {
        const std::string alone = "No peer is defined. ";
        if (node.activity() == "active") {
            return {Level::good, alone + "This node serves alone; nobody takes over if it fails."};
        }
        return {Level::warning, alone + "This node does not serve" +
                                    (node.activity() == "standby"
                                         ? ": it is on standby by the operator's wish. 'lbcluster unstandby' ends that."
                                         : ".")};
    }
    return node.link() == "up" || node.peer().state() == "alive" ? with_peer(node, peer) : without_peer(node, peer);
}

std::vector<bus::Alarm> all_alarms(const StatusView& view) {
    std::vector<bus::Alarm> alarms;
    if (view.node) alarms.assign(view.node->alarms().begin(), view.node->alarms().end());
    if (view.health) alarms.insert(alarms.end(), view.health->alarms().begin(), view.health->alarms().end());
    if (view.forward) alarms.insert(alarms.end(), view.forward->alarms().begin(), view.forward->alarms().end());
    if (view.replication) {
        alarms.insert(alarms.end(), view.replication->alarms().begin(), view.replication->alarms().end());
    }
    return alarms;
}

std::string render_page(const StatusView& view, bool color, std::size_t width) {
    Page page(color, std::clamp<std::size_t>(width, 72, 200));
    add_head(page, view);
    if (view.node) {
        add_peer(page, view.node->peer());
        add_links(page, *view.node);
        add_ping_nodes(page, *view.node);
        add_floating_ips(page, *view.node);
    }
    if (view.node || view.health || view.cluster.virtual_services_size() > 0) {
        page.add(render_services(view, color, page.width()));
        add_alarms(page, view);
        add_config(page, view.config);
        add_replication(page, view);
    }
    add_daemons(page, view.daemons);
    return page.take();
}

std::string event_line(const bus::Event& event, bool color) {
    const Page page(color, 80);
    std::string time = format_rfc3339(event.time_ms());
    const std::string kind = pad(harmless(event.kind()), 16);
    const bool alarm = event.severity() == "alarm";
    const bool warning = event.severity() == "warning";
    return page.paint("2", time.substr(0, 10) + " " + time.substr(11)) + "  " +
           (alarm || warning ? page.paint(alarm ? Level::bad : Level::warning, kind) : kind) + "  " +
           (event.node().empty() ? "" : harmless(event.node()) + ": ") + harmless(event.text()) + "\n";
}

}  // namespace lbcluster::cli
