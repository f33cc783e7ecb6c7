// lbcluster events: who became what, when and why (OP-4). Each daemon has a history of its own; they are shown as
// one, by time. From the daemon while it runs, else from the file it keeps.
#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/bus/client.hpp"
#include "lbcluster/bus/event_file.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/load.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto reader_check_time = 1s;  // whether somebody still reads what is printed

struct Source {
    const char* daemon;
    const char* file;
};
constexpr std::array sources{Source{"heartbeatd", "events.jsonl"}, Source{"healthd", "health-events.jsonl"},
                             Source{"forwarderd", "forward-events.jsonl"},
                             Source{"replicatord", "replica-events.jsonl"}};

using Events = std::vector<bus::Event>;

void add_events_of(const bus::Item& item, Events& events) {
    if (item.has_event() && !item.removed()) events.push_back(item.event());
}

void sort_by_number(Events& events) {
    std::sort(events.begin(), events.end(),
              [](const bus::Event& a, const bus::Event& b) { return a.sequence() < b.sequence(); });
}

void show(const Context& context, const Source& source, const bus::Event& event) {
    if (context.json) {
        print(bus::event_line(event, source.daemon));
    } else {
        print(event_line(event, context.color));
    }
}

void tell(const std::string& text) { std::fprintf(stderr, "lbcluster: %s\n", harmless(text).c_str()); }

bool does_not_run(const Error& error) { return error.code == ENOENT || error.code == ECONNREFUSED; }

struct Past {
    Events events;               // in the order of their numbers
    std::optional<Error> error;  // of the daemon
    bool kept = false;           // there is a file of it
};

Past past_of(const Context& context, const Source& source) {
    Past past;
    const auto items = bus::fetch(context.paths.socket_of(source.daemon), "event/", answer_time);
    if (items.ok()) {
        for (const bus::Item& item : *items) add_events_of(item, past.events);
        sort_by_number(past.events);
        return past;
    }
    past.error = items.error();
    const std::string path = context.paths.state_dir + "/" + source.file;
    auto kept = bus::read_event_history(path);
    if (!kept.ok()) {
        if (kept.error().code != ENOENT && does_not_run(items.error())) past.error = kept.error();
        return past;
    }
    past.kept = true;
    past.events = std::move(kept->events);
    if (kept->unreadable_lines > 0) {
        tell("left out " + std::to_string(kept->unreadable_lines) + " lines of " + path + " that are not events");
    }
    return past;
}

// A node may well have nothing to check. Of a forwarderd or replicatord that does not run `status` tells.
bool is_missed(const Context& context, const Source& source, const Past& past) {
    const std::string_view daemon = source.daemon;
    if (daemon == "forwarderd" || daemon == "replicatord") return past.kept || past.error->code != ENOENT;
    if (std::string_view(source.daemon) != "healthd" || past.error->code != ENOENT || past.kept) return true;
    const auto loaded = config::load(context.paths, std::nullopt);
    return !loaded.ok() || loaded.effective_cluster.virtual_services_size() > 0;
}

using Pasts = std::array<Past, sources.size()>;

bool nobody_knows(const Pasts& pasts) {
    return std::none_of(pasts.begin(), pasts.end(), [](const Past& past) { return !past.error || past.kept; });
}

// heartbeatd's, which every node has.
void fail_unknown(Context& context, const Pasts& pasts) {
    const Error& error = *pasts.front().error;
    fail(context, error.code == EIO ? exit_failed : bus::exit_code_of(error), error);
}

// One daemon that does not answer does not hide the other's events.
void tell_missing(const Context& context, const Pasts& pasts, const char* without) {
    for (std::size_t i = 0; i < sources.size(); ++i) {
        if (!pasts[i].error || !is_missed(context, sources[i], pasts[i])) continue;
        tell(pasts[i].error->message + (pasts[i].kept ? "; these are the events that it kept" : without));
    }
}

// By time; each history keeps its own order, should a clock have been set back meanwhile.
void show_past(const Context& context, const Pasts& pasts) {
    std::array<std::size_t, sources.size()> next{};
    for (;;) {
        std::optional<std::size_t> first;
        for (std::size_t i = 0; i < sources.size(); ++i) {
            if (next[i] == pasts[i].events.size()) continue;
            const auto time_ms = [&](std::size_t of) { return pasts[of].events[next[of]].time_ms(); };
            if (!first || time_ms(i) < time_ms(*first)) first = i;
        }
        if (!first) return;
        show(context, sources[*first], pasts[*first].events[next[*first]++]);
    }
}

Pasts all_past(const Context& context) {
    Pasts pasts;
    for (std::size_t i = 0; i < sources.size(); ++i) pasts[i] = past_of(context, sources[i]);
    return pasts;
}

void run_once(Context& context) {
    const Pasts pasts = all_past(context);
    if (nobody_knows(pasts)) return fail_unknown(context, pasts);
    tell_missing(context, pasts, "; its events are not shown");
    show_past(context, pasts);
    const bool none = std::all_of(pasts.begin(), pasts.end(), [](const Past& past) { return past.events.empty(); });
    if (none && !context.json) print("No events yet.\n");
}

// One daemon's events as they come, over its restarts; their numbers tell what was printed already.
class Follower {
  public:
    Follower(boost::asio::io_context& io, const Context& context, const Source& source, const Past& past)
        : io_(io),
          context_(context),
          source_(source),
          printed_(past.events.empty() ? 0 : past.events.back().sequence()),
          client_(io, {context.paths.socket_of(source.daemon), "lbcluster", LBCLUSTER_VERSION, "event/"}) {
        client_.on_snapshot([this](const bus::Client::State& state) {
            Events events;
            for (const auto& [key, item] : state) add_events_of(item, events);
            sort_by_number(events);
            if (!events.empty() && events.back().sequence() < printed_) printed_ = 0;  // a new history
            take(events);
        });
        client_.on_update([this](const std::vector<bus::Item>& items) {
            Events events;
            for (const bus::Item& item : items) add_events_of(item, events);
            sort_by_number(events);
            take(events);
        });
        client_.on_lost([](const Error& error) { tell(error.message + "; waiting for it"); });
        client_.start();
    }

  private:
    void take(const Events& events) {
        for (const bus::Event& event : events) {
            if (event.sequence() <= printed_) continue;
            show(context_, source_, event);
            printed_ = event.sequence();
        }
        if (!stdout_works()) io_.stop();
    }

    boost::asio::io_context& io_;
    const Context& context_;
    const Source& source_;
    std::uint64_t printed_;
    bus::Client client_;
};

void look_after_reader(boost::asio::io_context& io, boost::asio::steady_timer& timer) {
    if (!stdout_works()) return io.stop();
    timer.expires_after(reader_check_time);
    timer.async_wait([&](boost::system::error_code error) {
        if (!error) look_after_reader(io, timer);
    });
}

void run_follow(Context& context) {
    const Pasts pasts = all_past(context);
    // Who may not ask now may not ask later either; for a daemon that does not run it waits.
    if (nobody_knows(pasts) && !does_not_run(*pasts.front().error)) return fail_unknown(context, pasts);
    tell_missing(context, pasts, "; waiting for it");
    show_past(context, pasts);
    boost::asio::io_context io{1};
    std::vector<std::unique_ptr<Follower>> followers;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        followers.push_back(std::make_unique<Follower>(io, context, sources[i], pasts[i]));
    }
    boost::asio::steady_timer timer(io);
    look_after_reader(io, timer);
    io.run();
}

}  // namespace

void register_events(CLI::App& app, Context& context) {
    auto* command = app.add_subcommand("events", "Who became what, when and why");
    auto follow = std::make_shared<bool>(false);
    command->add_flag("--follow", *follow, "Go on with new ones as they happen");
    command->callback([&context, follow] { *follow ? run_follow(context) : run_once(context); });
}

}  // namespace lbcluster::cli
