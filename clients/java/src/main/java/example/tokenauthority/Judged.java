package example.tokenauthority;

import io.grpc.Context;
import io.grpc.ServerCall;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Listens to a call until it is judged, and hands what happened, and happens, to whoever listens then. */
final class Judged<Q> extends ServerCall.Listener<Q> {
  private final Context context = Context.current();
  private final List<Consumer<ServerCall.Listener<Q>>> waiting = new ArrayList<>();
  private ServerCall.Listener<Q> listener;

  /** Begins the listener, within the context of the call, and tells it what it missed. */
  synchronized void become(Supplier<ServerCall.Listener<Q>> begin) {
    Context previous = context.attach();
    try {
      listener = begin.get();
      waiting.forEach(event -> event.accept(listener));
      waiting.clear();
    } finally {
      context.detach(previous);
    }
  }

  @Override
  public void onMessage(Q message) {
    tell(listener -> listener.onMessage(message));
  }

  @Override
  public void onHalfClose() {
    tell(ServerCall.Listener::onHalfClose);
  }

  @Override
  public void onCancel() {
    tell(ServerCall.Listener::onCancel);
  }

  @Override
  public void onComplete() {
    tell(ServerCall.Listener::onComplete);
  }

  @Override
  public void onReady() {
    tell(ServerCall.Listener::onReady);
  }

  private synchronized void tell(Consumer<ServerCall.Listener<Q>> event) {
    if (listener == null) {
      waiting.add(event);
    } else {
      event.accept(listener);
    }
  }
}
