#include "healthd/notify/notifier.hpp"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "healthd/core/types.hpp"
#include "lbcluster/base/clock.hpp"

namespace lbcluster::health {
namespace {

constexpr unsigned smtps_port = 465;

milliseconds timeout_of(const config::Notification& channel) {
    return seconds(channel.timeout().seconds()) + milliseconds(channel.timeout().nanos() / 1'000'000);
}

void set_tls(Transfer& transfer, bool verify, const std::string& ca_file) {
    transfer.set(CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
    transfer.set(CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    if (!ca_file.empty()) transfer.set(CURLOPT_CAINFO, ca_file.c_str());
}

// A descriptor to read `text` from, from its start; -1 with errno.
int text_as_file(const std::string& text) {
    const int fd = ::memfd_create("notification", MFD_CLOEXEC);
    if (fd < 0) return -1;
    if (::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::lseek(fd, 0, SEEK_SET) == 0) {
        return fd;
    }
    const int code = errno;
    ::close(fd);
    errno = code;
    return -1;
}

}  // namespace

Notifier::Notifier(boost::asio::io_context& io) : io_(io), transfers_(io), wardens_(io), timer_(io) {}

Notifier::~Notifier() { *alive_ = false; }

void Notifier::configure(NotifySettings settings) {
    desk_.configure(boottime_now(), std::move(settings));
    arm();
}

void Notifier::on_server(const bus::ServerHealth& health) {
    desk_.on_server(boottime_now(), health);
    arm();
}

void Notifier::on_role(const bus::NodeStatus& node) {
    desk_.on_role(boottime_now(), node);
    arm();
}

std::vector<bus::Alarm> Notifier::alarms() const {
    std::vector<bus::Alarm> out;
    for (const Desk::Trouble& trouble : desk_.troubles()) {
        bus::Alarm& alarm = out.emplace_back();
        alarm.set_id("notify-" + trouble.channel);
        alarm.set_since_ms(trouble.since_ms);
        alarm.set_text("notification '" + trouble.channel + "' could not be delivered, " +
                       std::to_string(trouble.failures) + " times by now: " + trouble.error);
        alarm.set_action("see 'notifications' in cluster.yaml and whom it names; it is tried again by itself");
    }
    return out;
}

void Notifier::arm() {
    const Instant next = desk_.next_deadline();
    if (next == armed_for_) return;
    armed_for_ = next;
    if (next == Instant::max()) {
        timer_.cancel();
        return;
    }
    // A change of role is sent in the same turn of the loop; clocks that differ cost a look too early at most.
    timer_.expires_after(std::max<Duration>(next - boottime_now(), 0ns));
    timer_.async_wait([this, alive = alive_](const boost::system::error_code& error) {
        if (!error && *alive) turn();
    });
}

void Notifier::turn() {
    armed_for_ = Instant::max();
    for (const Desk::Dispatch& dispatch : desk_.take_due(boottime_now(), realtime_ms_now())) send(dispatch);
    arm();
}

void Notifier::send(const Desk::Dispatch& dispatch) {
    const config::Notification& channel = dispatch.channel;
    spdlog::info("notify channel={} text=\"{}\"", channel.label(), summary_of(dispatch.message));
    ++sent_;
    if (channel.has_webhook()) {
        send_webhook(channel, dispatch.message);
    } else if (channel.has_mail()) {
        send_mail(channel, dispatch.message);
    } else {
        run_command(channel, dispatch.message);
    }
}

void Notifier::send_webhook(const config::Notification& channel, const Message& message) {
    const config::NotificationWebhook& webhook = channel.webhook();
    auto transfer = std::make_unique<Transfer>(timeout_of(channel));
    transfer->set(CURLOPT_URL, webhook.url().c_str());
    transfer->set(CURLOPT_PROTOCOLS_STR, "http,https");
    transfer->set(CURLOPT_COPYPOSTFIELDS, json_of(message).c_str());
    std::vector<std::string> headers{"Content-Type: application/json", "Expect:"};
    for (const auto& [name, value] : webhook.headers()) headers.push_back(name + ": " + value);
    transfer->set_list(CURLOPT_HTTPHEADER, headers);
    transfer->set(CURLOPT_USERAGENT, "lbcluster/" LBCLUSTER_VERSION);
    set_tls(*transfer, webhook.verify(), webhook.ca_file());
    this->transfer(channel, std::move(transfer), true);
}

void Notifier::send_mail(const config::Notification& channel, const Message& message) {
    const config::NotificationMail& mail = channel.mail();
    const bool is_v6 = mail.server().find(':') != std::string::npos;
    const std::string host = is_v6 ? "[" + mail.server() + "]" : mail.server();
    auto transfer = std::make_unique<Transfer>(timeout_of(channel));
    const std::string url =
        (mail.port() == smtps_port ? "smtps://" : "smtp://") + host + ":" + std::to_string(mail.port());
    transfer->set(CURLOPT_URL, url.c_str());
    transfer->set(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    transfer->set(CURLOPT_USE_SSL, static_cast<long>(mail.starttls() ? CURLUSESSL_ALL : CURLUSESSL_NONE));
    set_tls(*transfer, mail.verify(), mail.ca_file());
    if (mail.has_user()) {
        transfer->set(CURLOPT_USERNAME, mail.user().c_str());
        transfer->set(CURLOPT_PASSWORD, mail.password().c_str());
    }
    transfer->set(CURLOPT_MAIL_FROM, ("<" + mail.from() + ">").c_str());
    std::vector<std::string> recipients;
    for (const std::string& to : mail.to()) recipients.push_back("<" + to + ">");
    transfer->set_list(CURLOPT_MAIL_RCPT, recipients);
    transfer->set(CURLOPT_MAIL_RCPT_ALLLOWFAILS, 1L);  // one bad address shall not keep it from the others
    const std::string unique =
        "lbcluster." + std::to_string(message.time_ms) + "." + std::to_string(::getpid()) + "." + std::to_string(sent_);
    transfer->set_upload(mail_of(message, mail.from(), {mail.to().begin(), mail.to().end()}, unique));
    this->transfer(channel, std::move(transfer), false);
}

void Notifier::transfer(const config::Notification& channel, std::unique_ptr<Transfer> transfer, bool http) {
    transfers_.start(std::move(transfer), [this, http, label = channel.label()](const Transfer::End& end) {
        const bool good = !http || (end.status >= 200 && end.status < 300);
        if (!end.error.empty()) {
            done(label, printable(end.error, reason_bytes_max));
        } else {
            done(label, good ? "" : "HTTP " + std::to_string(end.status) + ", wanted 200 to 299");
        }
    });
}

void Notifier::run_command(const config::Notification& channel, const Message& message) {
    const auto user = User::find(channel.command().run_as());
    if (!user) return done_later(channel.label(), user.error().message);
    const int input = text_as_file(json_of(message));
    if (input < 0) return done_later(channel.label(), std::string("memfd: ") + std::strerror(errno));
    ProgramExtras extras;
    extras.input_fd = input;
    extras.environment = {std::string("LBCLUSTER_EVENT=") + (message.whole ? "state" : "change"),
                          "LBCLUSTER_CHANNEL=" + channel.label(),
                          "LBCLUSTER_NODE=" + message.node,
                          "LBCLUSTER_ACTIVITY=" + (message.role ? message.role->activity : ""),
                          "LBCLUSTER_BEFORE=" + (message.role ? message.role->before : ""),
                          "LBCLUSTER_SUMMARY=" + summary_of(message)};
    auto& command = commands_[channel.label()];
    command = std::make_unique<Command>(io_, wardens_);
    const auto started = command->program.start(
        {channel.command().path()}, *user,
        [this, label = channel.label()](const Result<ProgramEnd>& end, const std::string& output) {
            commands_.at(label)->deadline.cancel();
            const bool good = end.ok() && end->kind == ProgramEnd::Kind::exited && end->value == 0;
            done(label, good ? "" : end.ok() ? describe(*end, output) : end.error().message);
        },
        extras);
    ::close(input);
    if (!started) return done_later(channel.label(), started.error().message);
    command->deadline.expires_after(timeout_of(channel));
    command->deadline.async_wait(
        [this, alive = alive_, label = channel.label()](const boost::system::error_code& error) {
            if (error || !*alive || !commands_.at(label)->program.running()) return;
            commands_.at(label)->program.stop();
            done(label, "had not ended in time");
        });
}

void Notifier::done_later(const std::string& channel, const std::string& error) {
    boost::asio::post(io_, [this, alive = alive_, channel, error] {
        if (*alive) done(channel, error);
    });
}

void Notifier::done(const std::string& channel, const std::string& error) {
    if (!error.empty()) spdlog::warn("notify channel={} not delivered: {}", channel, error);
    desk_.on_done(boottime_now(), realtime_ms_now(), channel, error);
    arm();
}

}  // namespace lbcluster::health
