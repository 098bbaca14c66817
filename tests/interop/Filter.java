import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Authenticator;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.Socket;

/**
 * Sends its standard input to a host through a SOCKS proxy, and writes what
 * comes back to its standard output.
 *
 * <p>Its arguments are the proxy's host and port, the destination's host and
 * port, who looks the destination's name up ("client" or "proxy"), and a user
 * name and a password, or neither.
 */
public class Filter {
    public static void main(String[] arguments) throws Exception {
        InetSocketAddress proxy = new InetSocketAddress(
                InetAddress.getByName(arguments[0]), Integer.parseInt(arguments[1]));
        int port = Integer.parseInt(arguments[3]);
        InetSocketAddress destination = arguments[4].equals("proxy")
                ? InetSocketAddress.createUnresolved(arguments[2], port)
                : new InetSocketAddress(InetAddress.getByName(arguments[2]), port);
        if (arguments.length > 5) {
            Authenticator.setDefault(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication(
                            arguments[5], arguments[6].toCharArray());
                }
            });
        }
        try (Socket socket = new Socket(new Proxy(Proxy.Type.SOCKS, proxy))) {
            socket.connect(destination, 60_000);
            Thread sender = new Thread(() -> send(socket));
            sender.start();
            copy(socket.getInputStream(), System.out);
            sender.join();
        }
    }

    private static void send(Socket socket) {
        try {
            copy(System.in, socket.getOutputStream());
            socket.shutdownOutput();
        } catch (IOException error) {
            throw new RuntimeException(error);
        }
    }

    private static void copy(InputStream from, OutputStream to) throws IOException {
        from.transferTo(to);
        to.flush();
    }
}
