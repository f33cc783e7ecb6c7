// lbcluster events: who became what, when and why (OP-4). From heartbeatd while it runs, else from the file it keeps.
#include <poll.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/bus/event_file.hpp"
#include "lbcluster/bus/request.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto answer_time = 2s;
constexpr auto reader_check_time = 1s;  // whether somebody still reads what is printed
constexpr int retry_ms = 500;

std::vector<bus::Event> events_of(const std::vector<bus::Item>& items) {
    std::vector<bus::Event> events;
    for (const auto& item : items) {
        if (item.has_event() && !item.removed()) {
            events.push_back(item.event());
        }
    }
    std::sort(events.begin(), events.end(),
              [](const bus::Event& a, const bus::Event& b) { return a.sequence() < b.sequence(); });
    return events;
}

void show(const Context& context, const bus::Event& event) {
    if (context.json) {
        print(bus::event_line(event));
    } else {
        print(event_line(event, context.color));
    }
}

bool does_not_run(const Error& error) { return error.code == ENOENT || error.code == ECONNREFUSED; }

// The events up to now; from the file if heartbeatd does not run.
Result<std::vector<bus::Event>> past_events(const Context& context) {
    const auto items = bus::fetch(context.paths.socket_of("heartbeatd"), "event/", answer_time);
    if (items.ok()) {
        return events_of(items.value());
    }
    if (!does_not_run(items.error())) {
        return items.error();
    }
    auto kept = bus::read_event_file(context.paths.state_dir + "/events.jsonl");
    if (!kept.ok()) {
        return kept.error().code == ENOENT ? items.error() : kept.error();
    }
    if (kept.value().unreadable_lines > 0) {
        std::fprintf(stderr, "lbcluster: left out %zu lines of %s/events.jsonl that are not events\n",
                     kept.value().unreadable_lines, harmless(context.paths.state_dir).c_str());
    }
    return std::move(kept.value().events);
}

void run_once(Context& context) {
    const auto events = past_events(context);
    if (!events.ok()) {
        const int code = events.error().code == EIO ? exit_failed : bus::exit_code_of(events.error());
        fail(context, code, events.error());
        return;
    }
    for (const auto& event : events.value()) {
        show(context, event);
    }
    if (events.value().empty() && !context.json) {
        print("No events yet.\n");
    }
}

// Goes on over a restart of heartbeatd; sequence numbers tell what was printed already.
void run_follow(Context& context) {
    std::uint64_t printed = 0;
    if (const auto events = past_events(context); events.ok()) {
        for (const auto& event : events.value()) {
            show(context, event);
            printed = event.sequence();
        }
    } else if (!does_not_run(events.error())) {
        fail(context, bus::exit_code_of(events.error()), events.error());
        return;
    }
    bool told = false;
    while (stdout_works()) {
        const auto followed = bus::follow(
            context.paths.socket_of("heartbeatd"), "event/",
            [&](bool first, const std::vector<bus::Item>& items) {
                told = false;
                const auto events = events_of(items);
                if (first && !events.empty() && events.back().sequence() < printed) {
                    printed = 0;  // the node's history was removed; this is a new one
                }
                for (const auto& event : events) {
                    if (event.sequence() > printed) {
                        show(context, event);
                        printed = event.sequence();
                    }
                }
                return stdout_works();
            },
            answer_time, reader_check_time);
        if (followed.ok()) {
            return;
        }
        if (bus::exit_code_of(followed.error()) == exit_refused) {
            fail(context, exit_refused, followed.error());
            return;
        }
        if (!std::exchange(told, true)) {
            std::fprintf(stderr, "lbcluster: %s; waiting for it\n", harmless(followed.error().message).c_str());
        }
        ::poll(nullptr, 0, retry_ms);
    }
}

}  // namespace

void register_events(CLI::App& app, Context& context) {
    auto* command = app.add_subcommand("events", "Who became what, when and why");
    auto follow = std::make_shared<bool>(false);
    command->add_flag("--follow", *follow, "Go on with new ones as they happen");
    command->callback([&context, follow] { *follow ? run_follow(context) : run_once(context); });
}

}  // namespace lbcluster::cli
