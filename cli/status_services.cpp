// Virtual services and their real servers in `lbcluster status`: what the configuration wants beside what healthd says
// (OP-2, HC-4, HC-5).
#include <algorithm>
#include <array>

#include "lbcluster/base/time.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "page.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

constexpr std::size_t services_shown_max = 40;
constexpr std::size_t servers_shown_max = 16;  // of one service
constexpr std::size_t count_width = 11;        // "123456 conn"

std::uint64_t age_of(const StatusView& view, std::uint64_t since_ms) {
    return view.now_ms > since_ms ? view.now_ms - since_ms : 0;
}

ServerRow row_of(const StatusView& view, const config::VirtualService& service, const config::RealServer& server) {
    ServerRow row;
    row.label = server.label();
    row.address = server.address();
    row.port = config::port_of(service, server);
    row.weight = server.weight();
    row.state = config::written_text(config::effective_state(server, view.now_ms));
    row.drain_until = server.drain_until();
    if (const auto at = view.forwarded.find(service.label()); at != view.forwarded.end()) {
        for (const bus::ForwardServer& one : at->second.servers()) {
            if (one.server() == server.label()) row.forwarded = one;
        }
    }
    const auto judged = view.peer_health.find({service.label(), server.label()});
    if (judged != view.peer_health.end()) row.peer_health = judged->second;
    const auto found = view.servers.find({service.label(), server.label()});
    if (view.health && found != view.servers.end()) {
        row.health = found->second;
        return row;
    }
    row.health.set_health("unknown");
    row.health.set_weight_percent(100);
    row.health.set_reason(view.health ? "healthd has not taken it up yet" : view.health_error);
    return row;
}

const char* paint_of(health::Color color) {
    switch (color) {
        case health::Color::green:
            return "32";
        case health::Color::yellow:
            return "33";
        case health::Color::blue:
            return "34";
        case health::Color::red:
            break;
    }
    return "1;31";
}

// As the model product shows a server: blue is the operator's wish, whatever its health is.
const char* paint_of(const ServerRow& row) {
    if (row.state != "online") return "34";
    if (row.health.health() == "up") return "32";
    return row.health.health() == "standby" ? "36" : row.health.health() == "down" ? "1;31" : "33";
}

bool is_plain(const ServerRow& row) {
    return row.state == "online" && row.health.health() == "up" && row.health.weight_percent() == 100 &&
           row.health.feedback_state().empty() && !row.health.overdue();
}

std::string port_text(std::uint32_t port) { return port == 0 ? "all" : std::to_string(port); }

std::string weight_text(const ServerRow& row) {
    const std::uint32_t percent = row.health.weight_percent();
    return std::to_string(row.weight) + (percent == 100 ? "" : " x " + std::to_string(percent) + "%");
}

std::string ports_text(const std::vector<std::string>& ports) {
    std::string text;
    for (const std::string& port : ports) text += (text.empty() ? "" : ",") + port;
    return text;
}

// Why it is as it is, in one line; empty for a server about which there is nothing to say.
std::string reason_of(const StatusView& view, const ServerRow& row) {
    std::string text;
    const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
    const bus::ServerHealth& health = row.health;
    if (!row.drain_until.empty()) {
        const std::uint64_t until = parse_rfc3339(row.drain_until).value_or(0);
        add(row.state == "drain" && until > view.now_ms
                ? "halted in " + age_text(until - view.now_ms)
                : "halted " + age_text(age_of(view, until)) + " ago, when its drain ended");
    }
    if (row.forwarded && row.forwarded->state() == "failed") add("could not be put into the kernel");
    if (row.forwarded && row.state == "drain" && row.forwarded->state() == "draining") {
        add("draining: " + std::to_string(row.forwarded->connections_active()) + " connections left");
    }
    if (view.health && health.health() != "up") {
        if (!health.reason().empty()) add(harmless(health.reason()));
        if (health.since_ms() != 0) add("for " + age_text(age_of(view, health.since_ms())));
    }
    if (health.overdue()) {
        add(health.checked_ms() == 0 ? "never checked yet"
                                     : "last checked " + age_text(age_of(view, health.checked_ms())) + " ago");
    }
    if (!health.feedback_state().empty() || health.weight_percent() != 100) {
        add("its agent says " + harmless(health.feedback()));
    }
    return text;
}

class Overview {
  public:
    Overview(const StatusView& view, Page& page) : view_(view), page_(page), services_(service_rows(view)) {
        std::size_t addresses = 11;
        std::size_t weights = view.forward ? 5 : 10;  // the counts need room
        for (const ServiceRow& service : services_) {
            addresses = std::max(addresses, service.address.size());
            for (const ServerRow& server : service.servers) {
                addresses = std::max(addresses, server.address.size());
                weights = std::max(weights, weight_text(server).size());
            }
        }
        address_width_ = std::min<std::size_t>(addresses, 26);
        weight_width_ = std::min<std::size_t>(weights, 10);
        age_width_ = view.forward ? 8 : 11;
        const std::size_t others = 29 + weight_width_ + age_width_ + (view.forward ? count_width : 0) + address_width_;
        label_width_ = std::clamp<std::size_t>(page.width() - std::min(page.width(), others), 4, 24);
    }

    void draw() {
        if (services_.empty() && view_.cluster_error.empty()) return page_.row("Services", "none");
        head();
        std::vector<const ServiceRow*> order;
        for (const ServiceRow& service : services_) order.push_back(&service);
        if (order.size() > services_shown_max) {  // what is not as it should be stands on top
            std::stable_partition(order.begin(), order.end(),
                                  [](const ServiceRow* s) { return s->color != health::Color::green; });
        }
        const std::size_t shown = std::min(order.size(), services_shown_max);
        for (std::size_t i = 0; i < shown; ++i) one(*order[i]);
        if (order.size() > shown) {
            page_.line("  ... and " + std::to_string(order.size() - shown) + " more ('lbcluster status --json')");
        }
    }

  private:
    // Columns that do not vary: health 12, gaps 3, port 7, state 7; that is the 29 above.

    void head() {
        std::array<std::size_t, 4> count{};
        for (const ServiceRow& service : services_) ++count[static_cast<std::size_t>(service.color)];
        std::string text = std::to_string(services_.size());
        const char* separator = ": ";
        for (const auto color :
             {health::Color::green, health::Color::yellow, health::Color::red, health::Color::blue}) {
            const std::size_t n = count[static_cast<std::size_t>(color)];
            if (n == 0) continue;
            text += separator + page_.paint(paint_of(color), std::to_string(n) + " " + std::string(word_of(color)));
            separator = ", ";
        }
        page_.row("Services", text);
        if (!view_.cluster_error.empty()) page_.wrapped("", harmless(view_.cluster_error), Level::bad);
        if (!view_.health) {
            page_.wrapped("", "The health of the servers is not known: " + harmless(view_.health_error), Level::bad);
        } else if (!view_.health->holding().empty()) {
            page_.wrapped("", "Failures do not count just now: " + harmless(view_.health->holding()), Level::warning);
        }
    }

    void one(const ServiceRow& service) {
        const std::size_t room = page_.width() - 12 - label_width_ - 1 - address_width_ - 1;
        const std::string how =
            pad(clip(service.protocol, 7), 8) + service.method + " (layer " + std::to_string(service.layer) + ")";
        page_.line("  " + page_.paint(paint_of(service.color), pad(upper(std::string(word_of(service.color))), 8)) +
                   page_.paint("1", pad(clip(harmless(service.label), label_width_ + 2), label_width_ + 3)) +
                   pad(clip(service.address, address_width_), address_width_ + 1) +
                   pad(clip(ports_text(service.ports), room - 24), room - 23) + how);
        tell_forwarding(service);
        std::vector<const ServerRow*> order;
        for (const ServerRow& server : service.servers) order.push_back(&server);
        if (order.size() > servers_shown_max) {
            std::stable_partition(order.begin(), order.end(), [](const ServerRow* s) { return !is_plain(*s); });
        }
        const std::size_t shown = std::min(order.size(), servers_shown_max);
        for (std::size_t i = 0; i < shown; ++i) one(*order[i]);
        if (order.size() > shown) {
            const auto up = std::count_if(order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                                          [](const ServerRow* s) { return is_plain(*s); });
            page_.line("    ... and " + std::to_string(order.size() - shown) + " more, " + std::to_string(up) +
                       " of them up");
        }
        if (service.servers.empty()) page_.line("    no real servers");
    }

    void tell_forwarding(const ServiceRow& service) {
        if (!service.forwarded) return;
        const bus::ForwardService& forwarded = *service.forwarded;
        if (forwarded.state() == "failed") {
            for (const std::string& line : wrap("Not forwarded: " + harmless(forwarded.error()), page_.width() - 10)) {
                page_.line("          " + page_.paint(Level::bad, line));
            }
        } else if (forwarded.state() == "fallback") {
            page_.line("          " + page_.paint(Level::warning,
                                                  "Its fallback answers: " + clip(harmless(forwarded.fallback()), 40)));
        }
    }

    // "3 h" where the counts need the room of the minutes.
    [[nodiscard]] std::string age(std::uint64_t since) const {
        if (since == 0) return "";
        const std::string text = age_text(age_of(view_, since));
        if (text.size() < age_width_) return text;
        return text.substr(0, text.find(' ', text.find(' ') + 1));
    }

    void one(const ServerRow& row) {
        const std::uint64_t since = row.health.since_ms();
        const char* color = paint_of(row);
        page_.line("    " + page_.paint(color, pad(clip(harmless(row.health.health()), 7), 8)) +
                   pad(clip(harmless(row.label), label_width_), label_width_ + 1) +
                   pad(clip(row.address, address_width_), address_width_ + 1) + pad(port_text(row.port), 7) +
                   pad(clip(weight_text(row), weight_width_), weight_width_ + 1) +
                   page_.paint(row.state == "online" ? "" : "34", pad(row.state, 7)) +
                   (row.forwarded ? pad(age(since), age_width_) +
                                        clip(std::to_string(row.forwarded->connections_active()) + " conn", count_width)
                                  : age(since)));
        const std::string reason = reason_of(view_, row);
        if (reason.empty()) return;
        for (const std::string& line : wrap(reason, page_.width() - 12)) page_.line("            " + line);
    }

    const StatusView& view_;
    Page& page_;
    std::vector<ServiceRow> services_;
    std::size_t address_width_ = 0;
    std::size_t label_width_ = 0;
    std::size_t weight_width_ = 0;
    std::size_t age_width_ = 0;
};

Json forwarding_json(const ServerRow& row) {
    if (!row.forwarded) return nullptr;
    const bus::ForwardServer& server = *row.forwarded;
    return {{"state", server.state()},
            {"weight", server.weight()},
            {"connections_inactive", server.connections_inactive()},
            {"connections_persistent", server.connections_persistent()},
            {"connections_per_second", server.connections_per_second()},
            {"connections_total", server.connections_total()},
            {"bytes_in", server.bytes_in()},
            {"bytes_out", server.bytes_out()},
            {"errors", server.errors()}};
}

Json forwarding_json(const ServiceRow& row) {
    if (!row.forwarded) return nullptr;
    const bus::ForwardService& service = *row.forwarded;
    return {{"state", service.state()},
            {"error", service.error()},
            {"fallback", service.fallback()},
            {"mark", service.mark()},
            {"connections_inactive", service.connections_inactive()},
            {"connections_per_second", service.connections_per_second()},
            {"connections_total", service.connections_total()},
            {"bytes_in", service.bytes_in()},
            {"bytes_out", service.bytes_out()},
            {"errors", service.errors()}};
}

// Established ones, on this node; null: not counted, as nothing forwards.
template <class Forwarded>
Json connections_json(const std::optional<Forwarded>& forwarded) {
    return forwarded ? Json(forwarded->connections_active()) : Json(nullptr);
}

Json server_json(const StatusView& view, const ServerRow& row) {
    const bus::ServerHealth& health = row.health;
    const auto age = [&](std::uint64_t ms) { return ms == 0 ? Json(nullptr) : Json(age_of(view, ms)); };
    return {{"label", row.label},
            {"address", row.address},
            {"port", row.port},
            {"weight", row.weight},
            {"weight_percent", health.weight_percent()},
            {"state", row.state},
            {"drain_until", row.drain_until.empty() ? Json(nullptr) : Json(row.drain_until)},
            {"health", health.health()},
            {"peer_health", row.peer_health},
            {"age_ms", age(health.since_ms())},
            {"checked_ago_ms", age(health.checked_ms())},
            {"overdue", health.overdue()},
            {"reason", health.reason()},
            {"took_us", health.took_us()},
            {"detection_ms", health.detection_ms()},
            {"feedback", health.feedback()},
            {"feedback_state", health.feedback_state()},
            {"connections", connections_json(row.forwarded)},
            {"forwarding", forwarding_json(row)}};
}

}  // namespace

std::vector<ServiceRow> service_rows(const StatusView& view) {
    std::vector<ServiceRow> rows;
    for (const config::VirtualService& service : view.cluster.virtual_services()) {
        if (!config::is_on(service)) continue;
        ServiceRow row;
        row.label = service.label();
        row.address = service.address();
        row.ports.assign(service.ports().begin(), service.ports().end());
        row.protocol = config::written_text(service.protocol());
        row.method = config::written_text(service.method());
        row.layer = config::is_layer7(service) ? 7 : 4;
        std::vector<health::ServerView> views;
        for (const config::RealServer* server : config::servers_of(service)) {
            row.servers.push_back(row_of(view, service, *server));
            views.push_back({config::effective_state(*server, view.now_ms), row.servers.back().health.health()});
        }
        row.color = health::color_of(views);
        if (const auto found = view.forwarded.find(service.label()); found != view.forwarded.end()) {
            row.forwarded = found->second;
            if (found->second.state() == "failed") row.color = health::Color::red;
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

std::string render_services(const StatusView& view, bool color, std::size_t width) {
    Page page(color, std::clamp<std::size_t>(width, 72, 200));
    Overview(view, page).draw();
    return page.take();
}

Json services_json(const StatusView& view) {
    Json out = Json::array();
    for (const ServiceRow& service : service_rows(view)) {
        Json servers = Json::array();
        for (const ServerRow& server : service.servers) servers.push_back(server_json(view, server));
        out.push_back({{"label", service.label},
                       {"address", service.address},
                       {"ports", service.ports},
                       {"protocol", service.protocol},
                       {"layer", service.layer},
                       {"method", service.method},
                       {"color", word_of(service.color)},
                       {"connections", connections_json(service.forwarded)},
                       {"forwarding", forwarding_json(service)},
                       {"servers", std::move(servers)}});
    }
    return out;
}

}  // namespace lbcluster::cli
