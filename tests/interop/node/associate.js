// UDP ASSOCIATE: sends one datagram after another through a proxy, each as soon
// as the one before was answered, and prints who answered, with how many octets
// and whether they are the same.  Its arguments are a SocksClientOptions in
// JSON, and a list of {host, port, size} in JSON.
'use strict';

const dgram = require('node:dgram');
const net = require('node:net');
const { SocksClient } = require('socks');

const options = { ...JSON.parse(process.argv[2]), command: 'associate' };
const parcels = JSON.parse(process.argv[3]);

const client = new SocksClient(options);
client.on('error', fail);
client.on('established', ({ socket: control, remoteHost: relay }) => {
  control.on('error', fail);
  control.resume();
  const socket = dgram.createSocket(net.isIPv6(relay.host) ? 'udp6' : 'udp4');
  socket.on('error', fail);

  let sent;
  const sendNext = () => {
    if (parcels.length === 0) {
      socket.close();
      control.end();
      return;
    }
    const { host, port, size } = parcels.shift();
    sent = Buffer.alloc(size, 'datagram ');
    const frame = SocksClient.createUDPFrame({ remoteHost: { host, port }, data: sent });
    socket.send(frame, relay.port, relay.host);
  };
  socket.on('message', (message) => {
    const { remoteHost, data } = SocksClient.parseUDPFrame(message);
    console.log(`${remoteHost.host} ${remoteHost.port} ${data.length} ${data.equals(sent)}`);
    sendNext();
  });
  sendNext();
});
client.connect();

function fail(error) {
  console.error(error.message);
  process.exitCode = 1;
}
