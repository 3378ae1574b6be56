"""What netstat writes for the states of TCP, on every system and in the languages of Windows."""

from __future__ import annotations

from typing import Final

_STATES: Final[dict[str, str]] = {
    "listen": "LISTEN LISTENING ABHÖREN ABHOEREN ÉCOUTE ECOUTE ESCUCHA LUISTEREN LYSSNAR OUVINDO "
    "ESCUTA "
    "NASŁUCHIWANIE NASLUCHIWANIE PROSLUCHIVANIE ПРОСЛУШИВАНИЕ IN_ASCOLTO ASCOLTO DİNLENİYOR",
    "established": "ESTABLISHED HERGESTELLT ÉTABLI ETABLI ESTABLECIDO ESTABLECIDA ESTABELECIDA "
    "ESTABELECIDO "
    "STABILITO STABILITA TOT_STAND_GEBRACHT GEVESTIGD UPPRÄTTAD USTANOWIONO УСТАНОВЛЕНО KURULDU",
    "syn_sent": "SYN_SENT SYN_GESENDET ENVOI_SYN SYN_ENVIADO",
    "syn_recv": "SYN_RECV SYN_RCVD SYN_RECEIVED SYN_EMPFANGEN RÉCEPTION_SYN",
    "fin_wait1": "FIN_WAIT1 FIN_WAIT_1 FIN_WARTEN_1 FIN_ATTENTE_1",
    "fin_wait2": "FIN_WAIT2 FIN_WAIT_2 FIN_WARTEN_2 FIN_ATTENTE_2",
    "time_wait": "TIME_WAIT WARTEND ATTENTE TEMPS_ATTENTE TIEMPO_ESPERA TEMPO_ATTESA",
    "close_wait": "CLOSE_WAIT SCHLIESSEN_WARTEN SCHLIEßEN_WARTEN ATTENTE_FERMETURE CERRAR_ESPERA",
    "last_ack": "LAST_ACK LETZTE_ACK DERNIER_ACK",
    "closing": "CLOSING SCHLIESSEND",
    # net-tools shows the number where a raw socket has no name for its state
    "unconnected": "7",
    "closed": "CLOSE CLOSED GESCHLOSSEN FERMÉ",
    "bound": "BOUND",
    "unknown": "UNKNOWN",
}
#: a word as shown -> the schema's word
STATES: Final = {shown: state for state, words in _STATES.items() for shown in words.split()}
#: of unix sockets; net-tools shows none for those that are not connected
UNIX_STATES: Final = {
    "LISTENING": "listen", "CONNECTED": "established", "CONNECTING": "connecting",
    "DISCONNECTING": "disconnecting", "FREE": "free", "UNKNOWN": "unknown",
    "UNCONNECTED": "unconnected",
}  # fmt: skip
UNIX_KINDS: Final = {"STREAM": "u_str", "DGRAM": "u_dgr", "SEQPACKET": "u_seq", "SEQPAC": "u_seq"}
