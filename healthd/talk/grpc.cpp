// gRPC health checking (github.com/grpc/grpc, doc/health-checking.md): grpc.health.v1.Health/Check over HTTP/2, in the
// clear with prior knowledge or within TLS. `request` is the name of the service; empty: the server as a whole. HTTP/2
// by nghttp2, on memory only; the two messages have one field each.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/unknown_field_set.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <optional>

#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t body_bytes_max = 4096;

struct EndSession {
    void operator()(nghttp2_session* session) const { ::nghttp2_session_del(session); }
};

std::string request_body(const std::string& service) {
    std::string message;
    if (!service.empty()) {
        google::protobuf::io::StringOutputStream stream(&message);
        google::protobuf::io::CodedOutputStream out(&stream);
        constexpr std::uint32_t service_field = 1U << 3U | 2U;  // HealthCheckRequest.service, a string
        out.WriteTag(service_field);
        out.WriteVarint32(static_cast<std::uint32_t>(service.size()));
        out.WriteString(service);
    }
    std::string body(1, '\0');
    put_u32(body, static_cast<std::uint32_t>(message.size()));
    return body + message;
}

// HealthCheckResponse.status, an enum; absent: 0, UNKNOWN. Empty: no such message.
std::optional<std::uint64_t> serving_status(std::string_view body) {
    ByteReader in(body);
    const bool compressed = in.u8() != 0;
    const std::uint32_t size = in.u32();
    const std::string_view message = in.bytes(size);
    google::protobuf::UnknownFieldSet fields;
    if (!in.ok() || compressed || !in.rest().empty() ||
        !fields.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
        return {};
    }
    std::uint64_t status = 0;
    for (int i = 0; i < fields.field_count(); ++i) {
        const auto& field = fields.field(i);
        if (field.number() != 1) continue;
        if (field.type() != google::protobuf::UnknownField::TYPE_VARINT) return {};
        status = field.varint();
    }
    return status;
}

std::string code_name(std::string_view code) {
    static constexpr std::array names{
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (code == std::to_string(i)) return names[i];
    }
    return "status";
}

class GrpcTalk final : public Talk {
  public:
    explicit GrpcTalk(const ProbeSpec& spec) : spec_(spec), body_(request_body(spec.check.request())) {}

    Step on_connected() override {
        open_session();
        const std::array settings{nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                  nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16 * 1024}};
        LBC_ASSERT(::nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0);
        const std::string address = spec_.address.to_string();
        const std::string authority =
            (spec_.address.is_v6() ? '[' + address + ']' : address) + ':' + std::to_string(spec_.port);
        const std::array headers{
            header(":method", "POST"),
            header(":scheme", spec_.check.has_tls() ? "https" : "http"),
            header(":path", "/grpc.health.v1.Health/Check"),
            header(":authority", authority),
            header("content-type", "application/grpc"),
            header("te", "trailers"),
            header("user-agent", "lbcluster"),
        };
        nghttp2_data_provider body{.source = {.ptr = this}, .read_callback = give_body};
        stream_ = ::nghttp2_submit_request(session_.get(), nullptr, headers.data(), headers.size(), &body, nullptr);
        LBC_ASSERT(stream_ > 0);
        return flush();
    }

    Step on_bytes(std::string_view bytes) override {
        received_ += bytes.size();
        if (received_ > received_bytes_max) return down("gRPC: endless answer");
        const ssize_t taken = ::nghttp2_session_mem_recv(
            session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
        if (taken < 0) return down("gRPC: no HTTP/2: " + std::string(::nghttp2_strerror(static_cast<int>(taken))));
        if (closed_) return verdict();
        Step step = flush();
        if (step.next == Next::read && ::nghttp2_session_want_read(session_.get()) == 0 &&
            ::nghttp2_session_want_write(session_.get()) == 0) {
            if (!error_.empty()) return down("gRPC: no HTTP/2: " + error_);
            return down("gRPC: the server ended HTTP/2 without an answer" + went_away_);
        }
        return step;
    }

    Step on_tls() override { return unusable("gRPC: TLS begins with the first byte"); }
    Step on_end() override { return down("gRPC: connection closed before the answer" + went_away_); }
    [[nodiscard]] std::string waiting_for() const override { return "answer to grpc.health.v1.Health/Check"; }

  private:
    static nghttp2_nv header(std::string_view name, std::string_view value) {
        // nghttp2 copies both.
        return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                NGHTTP2_NV_FLAG_NONE};
    }

    void open_session() {
        nghttp2_session_callbacks* callbacks = nullptr;
        LBC_ASSERT(::nghttp2_session_callbacks_new(&callbacks) == 0);
        ::nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        ::nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
        ::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        ::nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
        nghttp2_session* session = nullptr;
        LBC_ASSERT(::nghttp2_session_client_new(&session, callbacks, this) == 0);
        ::nghttp2_session_callbacks_del(callbacks);
        session_.reset(session);
    }

    Step flush() {
        std::string out;
        for (;;) {
            const std::uint8_t* bytes = nullptr;
            const ssize_t size = ::nghttp2_session_mem_send(session_.get(), &bytes);
            if (size < 0) return down("gRPC: HTTP/2: " + std::string(::nghttp2_strerror(static_cast<int>(size))));
            if (size == 0) return say(std::move(out));
            out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
        }
    }

    [[nodiscard]] Step verdict() const {
        const std::string said = message_.empty() ? "" : ": " + message_;
        if (reset_code_ != NGHTTP2_NO_ERROR && code_.empty()) {
            return down("gRPC: the server reset the stream: " +
                        std::string(::nghttp2_http2_strerror(static_cast<std::uint32_t>(reset_code_))));
        }
        if (http_status_ != "200") return down("gRPC: HTTP " + shown(http_status_, spec_.check, 10) + ", wanted 200");
        if (code_.empty()) return down("gRPC: answer without grpc-status");
        const std::string named = code_name(code_) + " (" + shown(code_, spec_.check, 10) + ")";
        if (code_ == "12") return down("gRPC: " + named + ": the server has no health service (grpc.health.v1)" + said);
        const std::string service = printable(spec_.check.request(), 80);
        if (code_ == "5") return down("gRPC: " + named + ": the server does not know the service \"" + service + '"');
        if (code_ != "0") return down("gRPC: " + named + said);
        static constexpr std::array names{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
        constexpr std::uint64_t serving = 1;
        const auto status = serving_status(answer_);
        if (!status) return down("gRPC: malformed HealthCheckResponse");
        const std::string name = *status < names.size() ? names[*status] : "status " + std::to_string(*status);
        return *status == serving ? up("gRPC: SERVING") : down("gRPC: " + name + ", wanted SERVING");
    }

    static GrpcTalk& self(void* user) { return *static_cast<GrpcTalk*>(user); }

    static ssize_t give_body(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t bytes_max,
                             std::uint32_t* flags, nghttp2_data_source* source, void*) {
        std::string& body = self(source->ptr).body_;
        const std::size_t size = std::min(body.size(), bytes_max);
        std::copy_n(body.begin(), size, out);
        body.erase(0, size);
        if (body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
        return static_cast<ssize_t>(size);
    }

    static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                         const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
        GrpcTalk& talk = self(user);
        if (frame->hd.stream_id != talk.stream_) return 0;
        const std::string_view key(reinterpret_cast<const char*>(name), name_size);
        const std::string_view text(reinterpret_cast<const char*>(value), value_size);
        constexpr std::size_t code_bytes_max = 16;
        if (key == ":status") talk.http_status_ = text.substr(0, code_bytes_max);
        if (key == "grpc-status") talk.code_ = text.substr(0, code_bytes_max);
        if (key == "grpc-message") talk.message_ = shown(text, talk.spec_.check, 80);
        return 0;
    }

    static int on_data(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* bytes, std::size_t size,
                       void* user) {
        GrpcTalk& talk = self(user);
        // One byte too many is enough to be malformed.
        const std::size_t room = body_bytes_max + 1 - talk.answer_.size();
        if (stream == talk.stream_) talk.answer_.append(reinterpret_cast<const char*>(bytes), std::min(size, room));
        return 0;
    }

    static int on_close(nghttp2_session*, std::int32_t stream, std::uint32_t code, void* user) {
        GrpcTalk& talk = self(user);
        if (stream != talk.stream_) return 0;
        talk.closed_ = true;
        talk.reset_code_ = code;
        return 0;
    }

    static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
        GrpcTalk& talk = self(user);
        if (frame->hd.type != NGHTTP2_GOAWAY) return 0;
        const auto& goaway = frame->goaway;
        const std::string_view data(reinterpret_cast<const char*>(goaway.opaque_data), goaway.opaque_data_len);
        talk.went_away_ = std::string(": GOAWAY ") + ::nghttp2_http2_strerror(goaway.error_code);
        if (!data.empty()) talk.went_away_ += " \"" + shown(data, talk.spec_.check, 60) + '"';
        return 0;
    }

    // nghttp2's own words about what it was sent.
    static int on_error(nghttp2_session*, int, const char* text, std::size_t size, void* user) {
        GrpcTalk& talk = self(user);
        talk.error_ = shown({text, size}, talk.spec_.check);
        return 0;
    }

    const ProbeSpec& spec_;
    std::string body_;
    std::unique_ptr<nghttp2_session, EndSession> session_;
    std::int32_t stream_ = 0;
    std::size_t received_ = 0;
    std::string http_status_;
    std::string code_;
    std::string message_;
    std::string answer_;
    std::string went_away_;
    std::string error_;
    std::uint32_t reset_code_ = 0;
    bool closed_ = false;
};

}  // namespace

std::unique_ptr<Talk> make_grpc_talk(const ProbeSpec& spec) { return std::make_unique<GrpcTalk>(spec); }

}  // namespace lbcluster::health
