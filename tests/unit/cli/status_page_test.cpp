// HA-5: the states an operator sees, the six cases of the specification among them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/status_view.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

StatusView view_of(const std::string& role, const std::string& activity, const std::string& link,
                   const std::string& peer_state, const std::string& peer_activity) {
    StatusView view;
    view.now_ms = 1795226999042;
    auto& node = view.node.emplace();
    node.set_name("lb1");
    node.set_role(role);
    node.set_activity(activity);
    node.set_since_ms(view.now_ms - 65000);
    node.set_term(3);
    node.set_link(link);
    auto& peer = *node.mutable_peer();
    peer.set_state(peer_state);
    if (peer_state != "none") {
        peer.set_name("lb2");
        peer.set_role(role == "primary" ? "secondary" : "primary");
        peer.set_activity(peer_activity);
        peer.set_heard(!peer_activity.empty());
        peer.set_last_heard_ms(42);
        auto& path = *node.add_links();
        path.set_name("eth0 10.77.0.11-10.77.0.12");
        path.set_kind("udp");
        path.set_state(link);
        path.set_rtt_us(link == "up" ? 123 : 0);
    }
    auto& ip = *node.add_floating_ips();
    ip.set_address("10.77.0.200/32");
    ip.set_interface("eth0");
    ip.set_held(activity == "active");
    view.config.set_revision(5);
    view.config.set_digest("3f2a9b10c4d5e6f7");
    view.daemons.push_back({"heartbeatd", true, false, "0.1.0"});
    return view;
}

struct Case {
    const char* name;
    StatusView view;
    Level level;
    const char* head;
    const char* text;
};

std::vector<Case> six_cases() {
    return {
        {"no peer defined", view_of("primary", "active", "none", "none", ""), Level::good,
         "PRIMARY | ACTIVE | LINK NONE", "No peer is defined. This node serves alone"},
        {"both fine", view_of("primary", "active", "up", "alive", "passive"), Level::good, "PRIMARY | ACTIVE | LINK UP",
         "Both nodes are fine. This node serves, the peer lb2 is ready to take over."},
        {"peer defined but link down", view_of("primary", "active", "down", "unknown", ""), Level::bad,
         "PRIMARY | ACTIVE | LINK DOWN", "peer's state is unknown: the floating IPs may be up on both nodes."},
        {"active after a failover", view_of("secondary", "active", "down", "dead", "active"), Level::warning,
         "SECONDARY | ACTIVE | LINK DOWN", "This node serves after a failover: the peer lb2 is dead."},
        {"passive and fine", view_of("secondary", "passive", "up", "alive", "active"), Level::good,
         "SECONDARY | PASSIVE | LINK UP", "This node is passive and fine: the peer lb2 serves"},
        {"heartbeat does not run",
         [] {
             StatusView view;
             view.daemons.push_back({"heartbeatd", false, true, ""});
             return view;
         }(),
         Level::bad, "HEARTBEAT DOES NOT RUN | LINK DOWN", "the link is down for both nodes"},
    };
}

std::string unwrapped(const std::string& text) {
    std::istringstream words(text);
    std::string out;
    for (std::string word; words >> word;) {
        out += (out.empty() ? "" : " ") + word;
    }
    return out;
}

TEST(StatusPage, TellsTheSixCasesApart) {
    for (const auto& c : six_cases()) {
        SCOPED_TRACE(c.name);
        EXPECT_EQ(summarize(c.view).level, c.level);
        const std::string page = unwrapped(render_page(c.view, false));
        EXPECT_THAT(page, HasSubstr(c.head));
        EXPECT_THAT(page, HasSubstr(c.text));
        for (const auto& other : six_cases()) {
            if (std::string(other.name) != c.name) {
                EXPECT_NE(summarize(c.view).text, summarize(other.view).text);
            }
        }
    }
}

TEST(StatusPage, TellsTheStatesInBetween) {
    EXPECT_THAT(summarize(view_of("primary", "active", "up", "alive", "active")).text, HasSubstr("Both nodes say"));
    EXPECT_THAT(summarize(view_of("primary", "passive", "up", "alive", "passive")).text, HasSubstr("Neither node"));
    EXPECT_THAT(summarize(view_of("primary", "standby", "up", "alive", "active")).text, HasSubstr("on standby"));
    EXPECT_THAT(summarize(view_of("primary", "starting", "down", "unknown", "")).text, HasSubstr("starting"));
    EXPECT_THAT(summarize(view_of("secondary", "passive", "down", "unknown", "")).text,
                HasSubstr("it may serve, or nobody does"));
    EXPECT_EQ(summarize(view_of("secondary", "passive", "down", "dead", "active")).level, Level::bad);
}

void expect_tidy(const std::string& page) {
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), 80U) << line;
        EXPECT_EQ(line.find('\x1b'), std::string::npos) << line;
    }
}

TEST(StatusPage, FitsInEightyColumnsWhateverItIsGiven) {
    for (const auto& c : six_cases()) {
        expect_tidy(render_page(c.view, false));
    }
    auto view = view_of("primary", "active", "up", "alive", "passive");
    const std::string evil = "\x1b]0;owned\x07" + std::string(300, 'W');
    auto& node = *view.node;
    node.set_name(evil);
    node.set_role(evil);
    node.set_activity(evil);
    node.set_reason(evil + " " + evil);
    node.mutable_peer()->set_name(evil);
    node.mutable_links(0)->set_name(evil);
    node.mutable_links(0)->set_error(evil);
    node.mutable_links(0)->set_state(evil);
    node.mutable_floating_ips(0)->set_address(evil);
    node.mutable_floating_ips(0)->set_error(evil);
    node.add_ping_nodes()->set_address(evil);
    auto& alarm = *node.add_alarms();
    alarm.set_text(evil);
    alarm.set_action(evil);
    view.config.set_error(evil);
    view.config.set_digest(evil);
    view.daemons[0].version = evil;
    expect_tidy(render_page(view, false));
}

TEST(StatusPage, ShortensALongListAndPutsWhatIsWrongOnTop) {
    auto view = view_of("primary", "active", "up", "alive", "passive");
    for (int i = 1; i < 1000; ++i) {
        auto& ip = *view.node->add_floating_ips();
        ip.set_address("10.77.1." + std::to_string(i));
        ip.set_interface("eth0");
        ip.set_held(i != 700);
        ip.set_error(i == 700 ? "no such device" : "");
    }
    const std::string page = render_page(view, false);
    EXPECT_THAT(page, HasSubstr("999 of 1000 held here"));
    EXPECT_THAT(page, HasSubstr("... and 992 more"));
    EXPECT_LT(page.find("10.77.1.700"), page.find("10.77.0.200"));
    EXPECT_THAT(page, HasSubstr("not held  no such device"));
    EXPECT_LT(std::count(page.begin(), page.end(), '\n'), 40);
}

TEST(StatusPage, ShowsAlarmsWithWhatToDo) {
    auto view = view_of("primary", "active", "up", "alive", "passive");
    auto& alarm = *view.node->add_alarms();
    alarm.set_text("only one heartbeat link");
    alarm.set_action("add a second entry under links in node.yaml");
    const std::string page = render_page(view, false);
    EXPECT_THAT(page, HasSubstr("Alarms         only one heartbeat link"));
    EXPECT_THAT(page, HasSubstr("What to do: add a second entry under links in node.yaml"));
    EXPECT_THAT(render_page(view, true), HasSubstr("\x1b["));
}

TEST(StatusPage, SaysWhenTheNewestConfigurationIsNotInForce) {
    auto view = view_of("primary", "active", "up", "alive", "passive");
    EXPECT_THAT(render_page(view, false), HasSubstr("revision 5 (3f2a9b10c4d5), in force"));
    view.config.set_error("cluster.yaml:3:1: no");
    EXPECT_THAT(render_page(view, false), HasSubstr("not in force: cluster.yaml:3:1: no"));
}

TEST(StatusJson, HasTheFieldsScriptsRead) {
    const Json json = status_json(view_of("primary", "active", "up", "alive", "passive"));
    EXPECT_EQ(json["node"]["name"], "lb1");
    EXPECT_EQ(json["node"]["role"], "primary");
    EXPECT_EQ(json["node"]["activity"], "active");
    EXPECT_EQ(json["node"]["since"], "2026-11-21T02:08:54.042Z");
    EXPECT_EQ(json["node"]["term"], 3);
    EXPECT_EQ(json["peer"]["state"], "alive");
    EXPECT_EQ(json["peer"]["last_heard_ms"], 42);
    EXPECT_EQ(json["link"], "up");
    EXPECT_EQ(json["links"][0]["kind"], "udp");
    EXPECT_EQ(json["links"][0]["rtt_us"], 123);
    EXPECT_EQ(json["floating_ips"][0]["held"], true);
    EXPECT_EQ(json["services"], Json::array());
    EXPECT_EQ(json["config"]["revision"], 5);
    EXPECT_EQ(json["replication"]["state"], "none");
    EXPECT_EQ(json["alarms"], Json::array());
    EXPECT_EQ(json["daemons"][0]["running"], true);
}

// RE-2: the replication is a part of the picture, its alarms are among the others.
TEST(StatusReplication, IsShownWithItsReason) {
    StatusView view = view_of("primary", "active", "up", "alive", "passive");
    bus::ReplicationStatus& replication = view.replication.emplace();
    replication.set_state("diverged");
    replication.set_error("the configuration was changed on both nodes\x1b[0m");
    replication.set_peer("lb2");
    replication.set_peer_revision(7);
    replication.set_connected(true);
    replication.add_alarms()->set_id("config-diverged");
    const Json json = status_json(view);
    EXPECT_EQ(json["replication"]["state"], "diverged");
    EXPECT_EQ(json["replication"]["peer_revision"], 7);
    EXPECT_EQ(json["replication"]["peer_clock"], nullptr);
    replication.mutable_peer_clock()->set_ahead_ms(-3);
    EXPECT_EQ(status_json(view)["replication"]["peer_clock"], (Json{{"ahead_ms", -3}, {"uncertain_ms", 0}}));
    EXPECT_EQ(json["alarms"][0]["id"], "config-diverged");
    const std::string page = render_page(view, false);
    EXPECT_NE(page.find("diverged with lb2, revision 7 there"), std::string::npos) << page;
    EXPECT_EQ(page.find('\x1b'), std::string::npos);
    view.replication->set_state("none");
    EXPECT_EQ(render_page(view, false).find("Replication"), std::string::npos) << "a node alone has none";
}

TEST(EventLine, IsOneHarmlessLine) {
    bus::Event event;
    event.set_time_ms(1795226934042);
    event.set_node("lb1");
    event.set_kind("became-active");
    event.set_text("peer dead\nrm -rf \x1b[0m");
    EXPECT_EQ(event_line(event, false),
              "2026-11-21 02:08:54.042Z  became-active     lb1: peer dead\\nrm -rf \\x1b[0m\n");
}

}  // namespace
}  // namespace lbcluster::cli
