// OP-2, HC-4, HC-5, HC-6, HC-7: virtual services and their servers in `lbcluster status`, for people and for scripts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/status_view.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t now_ms = 1795226999042;  // 2026-11-21T02:09:59.042Z

const char* const two_services = R"(
virtual_services:
  - label: Papercut_WUI
    address: 172.24.11.38
    ports: [9191, 9192, 9193]
    real_servers:
      - {label: App_Svr1, address: 172.24.11.36}
      - {label: App_Svr2, address: 172.24.11.37}
      - {label: spare, address: 172.24.11.99, enabled: false}
  - label: DA_VIP
    address: 192.168.86.166
    ports: [9001]
    method: proxy
    real_servers:
      - {label: DA1, address: 192.168.86.50, port: 9001}
      - {label: DA2, address: 192.168.86.51, port: 9002}
  - {label: off, address: 10.0.0.9, ports: [80], enabled: false}
)";

StatusView view_of(const std::string& cluster) {
    StatusView view;
    view.now_ms = now_ms;
    const auto loaded = config::load_texts(std::nullopt, cluster, "cluster.yaml", std::nullopt);
    EXPECT_TRUE(loaded.ok()) << config::format(loaded.problems);
    view.cluster = loaded.effective_cluster;
    view.health.emplace();
    return view;
}

bus::ServerHealth& put(StatusView& view, const std::string& service, const std::string& server,
                       const std::string& health, const std::string& reason = "", std::chrono::milliseconds age = 12s) {
    bus::ServerHealth& one = view.servers[{service, server}];
    one.set_health(health);
    one.set_reason(reason);
    one.set_since_ms(now_ms - static_cast<std::uint64_t>(age.count()));
    one.set_checked_ms(now_ms - 800);
    one.set_weight_percent(100);
    return one;
}

std::string page_of(const StatusView& view, bool color = false) { return render_services(view, color, 80); }

TEST(StatusServices, ThePageAsTheModelProductHasIt) {
    StatusView view = view_of(two_services);
    put(view, "Papercut_WUI", "App_Svr1", "up", "HTTP 200", std::chrono::hours(3));
    put(view, "Papercut_WUI", "App_Svr2", "standby", "HTTP 503 is standby");
    put(view, "DA_VIP", "DA1", "up", "connected").set_weight_percent(50);
    view.servers[{"DA_VIP", "DA1"}].set_feedback("50%");
    put(view, "DA_VIP", "DA2", "down", "HTTP 503, wanted 200; 3 of 3");
    EXPECT_EQ(page_of(view),
              "  Services       2: 1 green, 1 yellow\n"
              "  GREEN   Papercut_WUI       172.24.11.38   9191,9192,.. tcp     dr (layer 4)\n"
              "    up      App_Svr1         172.24.11.36   9191   100        online 3 h 0 min\n"
              "    standby App_Svr2         172.24.11.37   9191   100        online 12 s\n"
              "            HTTP 503 is standby; for 12 s\n"
              "  YELLOW  DA_VIP             192.168.86.166 9001         tcp     proxy (layer 7)\n"
              "    up      DA1              192.168.86.50  9001   100 x 50%  online 12 s\n"
              "            its agent says 50%\n"
              "    down    DA2              192.168.86.51  9002   100        online 12 s\n"
              "            HTTP 503, wanted 200; 3 of 3; for 12 s\n");
    const std::string painted = page_of(view, true);
    EXPECT_THAT(painted, HasSubstr("\x1b[32mGREEN"));
    EXPECT_THAT(painted, HasSubstr("\x1b[33mYELLOW"));
    EXPECT_THAT(painted, HasSubstr("\x1b[1;31mdown"));
}

TEST(StatusServices, WhatTheOperatorTookOfflineIsBlueWhateverItsHealth) {
    StatusView view = view_of(R"(
virtual_services:
  - label: w
    address: 10.0.0.1
    ports: all
    check: {type: ping}
    real_servers:
      - {label: a, address: 10.0.0.2, state: halt}
      - {label: b, address: 10.0.0.3, state: drain}
      - {label: c, address: 10.0.0.4, state: drain, drain_until: "2026-11-21T02:19:59.042Z"}
      - {label: d, address: 10.0.0.5, state: drain, drain_until: "2026-11-21T02:09:49.042Z"}
)");
    put(view, "w", "a", "down", "no answer");
    for (const char* label : {"b", "c", "d"}) put(view, "w", label, "up");
    const std::string page = page_of(view, true);
    EXPECT_THAT(page, HasSubstr("1: \x1b[34m1 blue"));
    EXPECT_THAT(page, HasSubstr("\x1b[34mdown "));
    EXPECT_THAT(page, HasSubstr("\x1b[34mup "));
    const std::string plain = page_of(view);
    EXPECT_THAT(plain, HasSubstr("c                   10.0.0.4    all    100        drain  12 s\n"
                                 "            halted in 10 min 0 s\n"));
    EXPECT_THAT(plain, HasSubstr("d                   10.0.0.5    all    100        halt   12 s\n"
                                 "            halted 10 s ago, when its drain ended\n"));
    const Json servers = status_json(view)["services"][0]["servers"];
    EXPECT_EQ(servers[2]["state"], "drain");
    EXPECT_EQ(servers[2]["drain_until"], "2026-11-21T02:19:59.042Z");
    EXPECT_EQ(servers[3]["state"], "halt");
    EXPECT_EQ(status_json(view)["services"][0]["color"], "blue");
}

TEST(StatusServices, WithoutHealthdNothingIsKnownAndItSaysWhy) {
    StatusView view = view_of(two_services);
    view.health.reset();
    view.health_error = "healthd does not run";
    const std::string page = page_of(view);
    EXPECT_THAT(page, HasSubstr("2: 2 red"));
    EXPECT_THAT(page, HasSubstr("The health of the servers is not known: healthd does not run\n"));
    EXPECT_THAT(page, HasSubstr("unknown App_Svr1"));
    const Json json = services_json(view);
    EXPECT_EQ(json[0]["servers"][0]["health"], "unknown");
    EXPECT_EQ(json[0]["servers"][0]["reason"], "healthd does not run");
    EXPECT_EQ(json[0]["servers"][0]["age_ms"], nullptr);
    view.health.emplace();
    EXPECT_EQ(services_json(view)[0]["servers"][0]["reason"], "healthd has not taken it up yet");
}

TEST(StatusServices, TheJsonHasTheFieldsScriptsRead) {
    StatusView view = view_of(two_services);
    put(view, "DA_VIP", "DA2", "down", "connect: connection refused; 2 of 2");
    auto& alarm = *view.health->add_alarms();
    alarm.set_id("descriptors");
    alarm.set_text("too few file descriptors");
    view.health->set_targets(4);
    view.health->set_holding("this node reaches no ping node");
    view.peer_health[{"DA_VIP", "DA2"}] = "up";
    const Json json = status_json(view);
    const Json service = json["services"][1];
    const Json expected{
        {"label", "DA_VIP"}, {"address", "192.168.86.166"}, {"ports", {"9001"}}, {"protocol", "tcp"},
        {"layer", 7},        {"method", "proxy"},           {"color", "red"},    {"connections", nullptr}};
    for (const auto& [key, value] : expected.items()) EXPECT_EQ(service[key], value) << key;
    const Json server = service["servers"][1];
    const Json wanted{{"label", "DA2"},
                      {"address", "192.168.86.51"},
                      {"port", 9002},
                      {"weight", 100},
                      {"state", "online"},
                      {"health", "down"},
                      {"peer_health", "up"},
                      {"age_ms", 12000},
                      {"reason", "connect: connection refused; 2 of 2"},
                      {"checked_ago_ms", 800},
                      {"connections", nullptr}};
    for (const auto& [key, value] : wanted.items()) EXPECT_EQ(server[key], value) << key;
    EXPECT_EQ(json["services"].size(), 2U) << "what is disabled is not there";
    EXPECT_EQ(json["services"][0]["servers"].size(), 2U);
    EXPECT_EQ(json["alarms"][0]["id"], "descriptors");
    EXPECT_EQ(json["health"]["targets"], 4);
    EXPECT_THAT(page_of(view), HasSubstr("Failures do not count just now: this node reaches no ping node"));
    EXPECT_THAT(render_page(view, false), HasSubstr("Alarms         too few file descriptors"));
}

// L4-10, HC-5: what the kernel has of it.
TEST(StatusServices, WithForwarderdTheConnectionsAreCountedAndADrainShowsItsProgress) {
    StatusView view = view_of(two_services);
    view.cluster.mutable_virtual_services(0)->mutable_real_servers(1)->set_state(config::SERVER_STATE_DRAIN);
    put(view, "Papercut_WUI", "App_Svr1", "up", "HTTP 200", std::chrono::hours(27));
    put(view, "Papercut_WUI", "App_Svr2", "up", "HTTP 200", std::chrono::seconds(754));
    view.forward.emplace();
    bus::ForwardService& service = view.forwarded["Papercut_WUI"];
    service.set_state("served");
    service.set_connections_active(1037);
    for (const auto& [label, count, state] : {std::tuple("App_Svr1", 1000U, "served"), {"App_Svr2", 37U, "draining"}}) {
        bus::ForwardServer& server = *service.add_servers();
        server.set_server(label);
        server.set_state(state);
        server.set_connections_active(count);
    }
    EXPECT_THAT(page_of(view),
                HasSubstr("  GREEN   Papercut_WUI    172.24.11.38   9191,9192,9193  tcp     dr (layer 4)\n"
                          "    up      App_Svr1      172.24.11.36   9191   100   online 1 d 3 h 1000 conn\n"
                          "    up      App_Svr2      172.24.11.37   9191   100   drain  12 min  37 conn\n"
                          "            draining: 37 connections left\n"));
    const Json json = services_json(view);
    EXPECT_EQ(json[0]["connections"], 1037);
    EXPECT_EQ(json[0]["servers"][1]["connections"], 37);
    EXPECT_EQ(json[0]["forwarding"]["state"], "served");
    EXPECT_TRUE(json[1]["connections"].is_null()) << "layer 7 is not counted";
}

// "No IPVS in the kernel: layer-4 services are red with the reason, everything else works."
TEST(StatusServices, WhatIsNotForwardedIsRedWithTheReasonAndAFallbackIsNamed) {
    StatusView view = view_of(two_services);
    put(view, "Papercut_WUI", "App_Svr1", "up");
    put(view, "Papercut_WUI", "App_Svr2", "up");
    view.forward.emplace();
    bus::ForwardService& service = view.forwarded["Papercut_WUI"];
    service.set_service("Papercut_WUI");
    service.set_state("failed");
    service.set_error("this kernel has no IPVS (module ip_vs)");
    EXPECT_THAT(page_of(view), HasSubstr("  RED     Papercut_WUI"));
    EXPECT_THAT(page_of(view), HasSubstr("\n          Not forwarded: this kernel has no IPVS (module ip_vs)\n"));
    EXPECT_EQ(services_json(view)[0]["color"], "red");
    EXPECT_EQ(services_json(view)[0]["forwarding"]["error"], "this kernel has no IPVS (module ip_vs)");
    service.set_state("fallback");
    service.clear_error();
    service.set_fallback("172.24.11.50");
    EXPECT_THAT(page_of(view), HasSubstr("\n          Its fallback answers: 172.24.11.50\n"));
}

TEST(StatusServices, AnOldVerdictIsToldFromAFreshOne) {
    StatusView view = view_of(two_services);
    auto& old = put(view, "DA_VIP", "DA1", "up");
    old.set_overdue(true);
    old.set_checked_ms(now_ms - 95'000);
    EXPECT_THAT(page_of(view), HasSubstr("last checked 1 min 35 s ago"));
    EXPECT_EQ(services_json(view)[1]["servers"][0]["overdue"], true);
}

std::string many(int services, int servers) {
    std::string text = "virtual_services:\n";
    for (int i = 0; i < services; ++i) {
        text += "  - {label: s" + std::to_string(i) + ", address: 10.1." + std::to_string(i / 200) + "." +
                std::to_string(i % 200 + 1) + ", ports: [80], real_servers: [";
        for (int n = 0; n < servers; ++n) {
            text += (n == 0 ? "" : ", ") + std::string("{label: r") + std::to_string(n) + ", address: 10.2." +
                    std::to_string(n / 200) + "." + std::to_string(n % 200 + 1) + "}";
        }
        text += "]}\n";
    }
    return text;
}

TEST(StatusServices, LongListsAreShortenedWithWhatIsWrongOnTop) {
    StatusView view = view_of(many(100, 30));
    for (int i = 0; i < 100; ++i) {
        for (int n = 0; n < 30; ++n) {
            const bool down = i == 77 && n == 23;
            put(view, "s" + std::to_string(i), "r" + std::to_string(n), down ? "down" : "up", down ? "refused" : "");
        }
    }
    const std::string page = page_of(view);
    EXPECT_THAT(page, HasSubstr("100: 99 green, 1 yellow"));
    EXPECT_LT(page.find("s77"), page.find("s0 "));
    EXPECT_LT(page.find("r23"), page.find("r0 "));
    EXPECT_THAT(page, HasSubstr("... and 14 more, 14 of them up"));
    EXPECT_THAT(page, HasSubstr("... and 60 more ('lbcluster status --json')"));
    EXPECT_LT(std::count(page.begin(), page.end(), '\n'), 800);
}

TEST(StatusServices, FitsInEightyColumnsWhateverItIsGiven) {
    const std::string label(63, 'W');
    StatusView view =
        view_of("virtual_services: [{label: " + label +
                ", address: 'fd00:1111:2222:3333:4444:5555:6666:7777', ports: [1-9, 11-19, 21, 22, 23, 24], "
                "protocol: tcp/udp, real_servers: [{label: " +
                label + ", address: 'fd00:1111:2222:3333:4444:5555:6666:8888', weight: 256}]}]");
    const std::string evil = "\x1b]0;owned\x07" + std::string(300, 'W');
    auto& health = put(view, label, label, evil, evil);
    health.set_feedback(evil);
    health.set_feedback_state(evil);
    health.set_weight_percent(77);
    view.health->set_holding(evil);
    view.cluster_error = evil;
    std::istringstream lines(page_of(view));
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), 80U) << line;
        EXPECT_EQ(line.find('\x1b'), std::string::npos) << line;
    }
}

TEST(StatusServices, NoServicesIsOneLine) {
    EXPECT_EQ(page_of(view_of("{}")), "  Services       none\n");
    const StatusView empty = view_of("virtual_services: [{label: w, address: 10.0.0.1, ports: [80]}]");
    EXPECT_THAT(page_of(empty), ::testing::AllOf(HasSubstr("RED"), HasSubstr("no real servers")));
}

}  // namespace
}  // namespace lbcluster::cli
